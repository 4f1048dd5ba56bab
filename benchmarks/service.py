"""A real ``chetko serve`` on a free port, and workers beside it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx

START_SECONDS = 120


@dataclass(frozen=True)
class Running:
    """A service that answers."""

    url: str
    pid: int
    data: Path
    """Its data folder."""


def environment(**settings: str) -> dict[str, str]:
    """Of a command with these CHETKO_ settings (names without the prefix, lower case): modules are compiled once and
    kept, as where Chetko is installed, whatever the calling shell says of that."""
    own = {f"CHETKO_{name.upper()}": value for name, value in settings.items()}
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | own


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_service(**settings: str) -> Iterator[Running]:
    """Starts the service with settings as for ``environment`` and waits until it is ready.
    Its data folder, if none is given, goes with it, and it has no worker.

    Raises ``RuntimeError`` with what it printed if it ends or is not ready within ``START_SECONDS``.
    """
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="chetko-bench-") as folder:
        settings = {"data_dir": folder, "host": "127.0.0.1", "port": str(port)} | settings
        url = f"http://127.0.0.1:{port}"
        with _chetko(["serve", "--no-worker"], settings) as (process, log):
            deadline = time.monotonic() + START_SECONDS
            while not _is_ready(url):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise RuntimeError(f"the service did not become ready:\n{log.read()}")
                time.sleep(0.05)
            yield Running(url, process.pid, Path(settings["data_dir"]))


@dataclass(frozen=True)
class Workers:
    """Workers of one service."""

    pids: list[int]
    _logs: list[IO[str]]

    def seconds(self, job: str) -> dict[str, float]:
        """By kind of task (``prepare``, ``strip``, ``assemble``, ``tiles``), what the tasks of a job took, added up."""
        took: dict[str, float] = {}
        for log in self._logs:
            log.seek(0)
            for kind, seconds in re.findall(rf"{re.escape(job)}\.\d+\.(\w+)\.\S+ done after ([\d.]+) s", log.read()):
                took[kind] = took.get(kind, 0.0) + float(seconds)
        return took


@contextmanager
def running_workers(service: Running, count: int, **settings: str) -> Iterator[Workers]:
    """``count`` workers of ``service`` that take tasks; with settings as for ``environment``."""
    with ExitStack() as stack:
        started = [
            stack.enter_context(_chetko(["worker"], {"data_dir": str(service.data)} | settings)) for _ in range(count)
        ]
        deadline = time.monotonic() + START_SECONDS
        for process, log in started:
            while True:
                log.seek(0)
                told = log.read()
                if "takes tasks" in told:
                    break
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the worker takes no tasks:\n{told}")
                time.sleep(0.05)
        yield Workers([process.pid for process, _ in started], [log for _, log in started])


@contextmanager
def _chetko(arguments: list[str], settings: dict[str, str]) -> Iterator[tuple[subprocess.Popen[bytes], IO[str]]]:
    # A file, not a pipe: nobody reads while the process runs, and a full pipe would stop it.
    with tempfile.NamedTemporaryFile("r", prefix="chetko-bench-", suffix=".log") as log:
        with Path(log.name).open("a") as written:
            process = subprocess.Popen(
                [sys.executable, "-m", "app.cli", *arguments],
                env=environment(**settings), stdout=written, stderr=subprocess.STDOUT,
            )  # fmt: skip
        try:
            yield process, log
        finally:
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False
