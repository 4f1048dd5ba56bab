"""A real ``chetko serve`` on a free port, for the benchmarks and the tests."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

START_SECONDS = 60


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_service(**settings: str) -> Iterator[str]:
    """Starts the service with CHETKO_ settings (names without the prefix, lower case); gives its address when ready.
    Its data folder, if none is given, goes with it, and it has no worker.

    Raises ``RuntimeError`` with what it printed if it ends or is not ready within ``START_SECONDS``.
    """
    port = free_port()
    folder = tempfile.TemporaryDirectory(prefix="chetko-bench-")
    settings.setdefault("data_dir", folder.name)
    own = {f"CHETKO_{name.upper()}": value for name, value in settings.items()}
    environment = {**os.environ, "CHETKO_HOST": "127.0.0.1", "CHETKO_PORT": str(port), **own}
    url = f"http://127.0.0.1:{port}"
    # A file, not a pipe: nobody reads while the service runs, and a full pipe would stop it.
    log = tempfile.TemporaryFile("w+")  # noqa: SIM115  (closed below)
    process = subprocess.Popen(
        [sys.executable, "-m", "app.cli", "serve", "--no-worker"], env=environment, stdout=log, stderr=subprocess.STDOUT
    )
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                if httpx.get(f"{url}/readyz").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            if process.poll() is not None or time.monotonic() > deadline:
                log.seek(0)
                raise RuntimeError(f"the service did not become ready:\n{log.read()}")
            time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()
        folder.cleanup()
