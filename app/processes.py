"""Which processes belong to a ``chetko serve`` besides itself: an embedded queue server and one worker.

With ``CHETKO_REDIS_URL`` set there are none: then ``chetko serve`` and ``chetko worker`` are started one by one, by
whoever runs the cluster. Either way each process does the same.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from app.jobs.data_folder import DataFolder
from app.jobs.embedded import EmbeddedQueue, queue_binary
from app.jobs.supervisor import Part, Supervisor
from app.settings import PREFIX, Settings

WORKER_NICENESS = 10
"""How far the worker stands back behind the API's process: it has seconds for a strip, a request has milliseconds."""

_EXIT_SECONDS = 5
"""On top of ``drain_seconds``: what a worker needs to take its leave once its time is up."""


@contextmanager
def processes_of(
    settings: Settings, *, worker: bool, tell: Callable[[str], None]
) -> Iterator[tuple[Settings, Supervisor | None]]:
    """The settings to go on with, in which a queue is named if there is one, and what is to be started and ended
    around serving.

    ``worker``: whether a worker belongs to it. ``tell`` gets sentences for whoever started the command. Raises
    DataFolderError when the data folder cannot be had.
    """
    if settings.redis_url is not None:
        yield settings, None
        return
    if queue_binary() is None:
        tell(
            "There is no embedded queue server for this system, so there are no jobs, only pictures that one request "
            "answers. Set CHETKO_REDIS_URL to a queue server to have them."
        )
        yield settings, None
        return
    with DataFolder.hold(settings.data_dir, tell=tell) as folder:
        queue = EmbeddedQueue(folder)
        parts = [Part("queue server", queue.command(), answers=queue.answers, output=queue.log_file)]
        if worker:
            parts.append(
                Part(
                    "worker",
                    [*chetko_command(), "worker"],
                    niceness=WORKER_NICENESS,
                    environ={f"{PREFIX}REDIS_URL": queue.url, f"{PREFIX}DATA_DIR": str(settings.data_dir)},
                    drains=True,
                    stop_seconds=settings.drain_seconds + _EXIT_SECONDS,
                )
            )
        yield settings.model_copy(update={"redis_url": queue.url}), Supervisor(folder, parts)


def chetko_command() -> list[str]:
    """How this program is started once more, so that ``ps`` shows it as ``chetko``."""
    script = Path(sys.executable).with_name("chetko")
    return [sys.executable, str(script)] if script.is_file() else [sys.executable, "-m", "app"]
