"""Which processes belong to a ``chetko serve`` besides itself: an embedded queue server, one worker, and with
``CHETKO_PROCESSES`` further processes that answer HTTP.

With ``CHETKO_REDIS_URL`` set there is neither of the first two: then ``chetko serve`` and ``chetko worker`` are started
one by one, by whoever runs the cluster. Either way each process does the same.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from socket import socket

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
    settings: Settings, *, worker: bool, listening: Sequence[socket], tell: Callable[[str], None]
) -> Iterator[tuple[Settings, Supervisor | None]]:
    """The settings to go on with, in which a queue is named if there is one, and what is to be started and ended
    around serving.

    ``worker``: whether a worker belongs to it. ``listening``: the sockets that all servers share; whichever is free
    takes the next connection. ``tell`` gets sentences for whoever started the command. Raises DataFolderError when the
    data folder cannot be had.
    """
    if settings.redis_url is not None:
        yield settings, _supervisor(None, _servers(settings, listening))
        return
    if queue_binary() is None:
        tell(
            "There is no embedded queue server for this system, so there are no jobs, only pictures that one request "
            "answers. Set CHETKO_REDIS_URL to a queue server to have them."
        )
        yield settings, _supervisor(None, _servers(settings, listening))
        return
    with DataFolder.hold(settings.data_dir, tell=tell) as folder:
        queue = EmbeddedQueue(folder)
        settings = settings.model_copy(update={"redis_url": queue.url})
        parts = [Part("queue server", queue.command(), answers=queue.answers, output=queue.log_file)]
        parts += _servers(settings, listening)
        if worker:
            parts.append(
                Part(
                    "worker",
                    [*chetko_command(), "worker"],
                    niceness=WORKER_NICENESS,
                    environ=_same_service(settings),
                    drains=True,
                    reloads=True,
                    stop_seconds=settings.drain_seconds + _EXIT_SECONDS,
                )
            )
        yield settings, Supervisor(folder, parts)


def _supervisor(folder: DataFolder | None, parts: Sequence[Part]) -> Supervisor | None:
    return Supervisor(folder, parts) if parts else None


def _servers(settings: Settings, listening: Sequence[socket]) -> list[Part]:
    """The servers beside this one. Each begins to take connections when its models are loaded."""
    descriptors = [each.fileno() for each in listening]
    return [
        Part(
            f"server process {number}",
            [*chetko_command(), "serve", "--no-worker", "--sockets", ",".join(map(str, descriptors))],
            environ={
                **_same_service(settings),
                # Given by options, perhaps; whether this is a public address decides who needs a key.
                f"{PREFIX}HOST": settings.host,
                f"{PREFIX}PORT": str(settings.port),
                f"{PREFIX}PROCESSES": "1",
            },
            descriptors=descriptors,
            drains=True,
            reloads=True,
            stop_seconds=settings.drain_seconds + _EXIT_SECONDS,
        )
        for number in range(2, settings.processes + 1)
    ]


def _same_service(settings: Settings) -> dict[str, str]:
    """What a child is told of its parent's queue and folder."""
    queue = {} if settings.redis_url is None else {f"{PREFIX}REDIS_URL": settings.redis_url}
    return {**queue, f"{PREFIX}DATA_DIR": str(settings.data_dir)}


def chetko_command() -> list[str]:
    """How this program is started once more, so that ``ps`` shows it as ``chetko``."""
    script = Path(sys.executable).with_name("chetko")
    return [sys.executable, str(script)] if script.is_file() else [sys.executable, "-m", "app"]
