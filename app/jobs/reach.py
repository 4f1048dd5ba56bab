"""How a command reaches the queue, whether a service runs or not."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.jobs import tied as tied_script
from app.jobs.data_folder import DataFolder, DataFolderError, note_in
from app.jobs.embedded import EmbeddedQueue, queue_binary
from app.settings import Settings

_QUEUE_SECONDS = 30.0
"""How long the embedded queue server may take to answer: it may have a large file to read."""


@contextmanager
def queue_of(settings: Settings) -> Iterator[str]:
    """The address of the queue server: the one that is set, that of a running ``chetko serve``, or one that lives for
    as long as this lasts, on the same data.
    """
    if settings.redis_url is not None:
        yield settings.redis_url
        return
    note = note_in(settings.data_dir)
    if note is not None and note.queue_url is not None and note.holder.alive():
        yield note.queue_url
        return
    if queue_binary() is None:
        raise DataFolderError("This needs a queue server, and none is made for this system: set CHETKO_REDIS_URL.")
    with DataFolder.hold(settings.data_dir) as folder:
        queue = EmbeddedQueue(folder)
        process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-I", "-S", tied_script.__file__, str(os.getpid()), "0", *queue.command()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        folder.note_child("queue", process.pid)
        try:
            _wait_until_it_answers(queue, process)
            yield queue.url
        finally:
            process.terminate()
            process.wait(_QUEUE_SECONDS)
            folder.forget_child("queue")


def _wait_until_it_answers(queue: EmbeddedQueue, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _QUEUE_SECONDS
    while not asyncio.run(queue.answers()):
        if process.poll() is not None or time.monotonic() > deadline:
            raise DataFolderError(f"The queue server does not start on {Path(queue.folder)}.")
        time.sleep(0.02)
