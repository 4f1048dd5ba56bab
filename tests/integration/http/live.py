"""Servers for tests: the real one in a process of its own, and one in a thread whose computing a test controls."""

from __future__ import annotations

import atexit
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import httpx
import uvicorn
from PIL import Image

from app.api.service import Service
from app.imaging.header import Header
from app.inference.backend import Backend
from app.inference.engine import Engine
from app.inference.enlarge import Limits, Options, Report
from app.inference.errors import UpscaleCancelledError
from app.inference.manifest import Manifest
from app.inference.registry import Registry
from app.jobs import open_redis
from app.main import create_app
from app.settings import Settings
from app.storage import Storage, open_storage

BIN = Path(sys.executable).parent


@dataclass
class RealServer:
    """A ``chetko serve`` that runs."""

    url: str
    process: subprocess.Popen[str]
    lines: queue.Queue[str]
    """What it printed since its start, except the line that gave its address."""

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Sends the signal and gives the exit code."""
        self.process.send_signal(number)
        return self.process.wait(30)


@contextmanager
def real_server(*, worker: bool = False, **environ: str) -> Iterator[RealServer]:
    """Starts ``chetko serve`` on a free port and waits until it says that it is ready."""
    process = start_serve(worker=worker, **environ)
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_pump, args=(process, lines), daemon=True).start()
    try:
        seen = []
        deadline = time.monotonic() + 60
        while True:
            try:
                line = lines.get(timeout=max(0.1, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError("chetko serve did not become ready:\n" + "".join(seen)) from None
            seen.append(line)
            ready = re.match(r"Chetko is ready: (http://\S+)$", line.strip())
            if ready:
                break
            if not line:
                raise AssertionError("chetko serve ended:\n" + "".join(seen))
        yield RealServer(ready[1], process, lines)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(10)


def start_serve(*, worker: bool = False, **environ: str) -> subprocess.Popen[str]:
    """``chetko serve`` with these ``CHETKO_`` settings and no others; both outputs in one pipe. Its data folder, if
    none is given, is its own and goes with this process.
    """
    if "CHETKO_DATA_DIR" not in environ:
        environ["CHETKO_DATA_DIR"] = tempfile.mkdtemp(prefix="chetko-test-")
        atexit.register(shutil.rmtree, environ["CHETKO_DATA_DIR"], ignore_errors=True)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CHETKO_")}
    return subprocess.Popen(
        [sys.executable, "-m", "app.cli", "serve", *([] if worker else ["--no-worker"])],
        env={**inherited, "CHETKO_PORT": "0", **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _pump(process: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line)
    lines.put("")


MANIFEST = Manifest.model_validate(
    {
        "schema": 1,
        "name": "double",
        "version": "1.2.3",
        "default": True,
        "title": {"en": "Double", "ru": "Двойная"},
        "description": {"en": "Repeats pixels.", "ru": "Повторяет пиксели."},
        "kind": "baseline",
        "licence": "Apache-2.0",
        "scales": {
            "2": {
                "parameters": 0,
                "multiply_adds_per_input_pixel": 0,
                "halo": 0,
                "receptive_field_radius": 0,
                "opset": 17,
                "activation_bytes_per_input_pixel": 1,
                "files": {kind: {"file": "x2.onnx", "sha256": "0" * 64, "bytes": 1} for kind in ("uint8", "float")},
                "measured": {"Set5": {"psnr": 30.0}},
            }
        },
    }
)


class _NoEngine:
    def close(self) -> None:
        """There is nothing to close."""

    def queue_length(self) -> int:
        """Nothing waits for a device that there is not."""
        return 0


@dataclass
class Computing:
    """Takes the place of inference: repeats pixels, and does what the test wants before that."""

    hold: threading.Event | None = None
    """Where given: pictures wait until it is set, or until they are cancelled."""
    fail: Exception | None = None
    result: bytes | None = None
    """Where given: the answer's bytes, whatever the picture."""
    running: int = 0
    most_running: int = 0
    cancelled: int = 0
    finished: int = 0
    threads: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def enlarge(
        self,
        source: BinaryIO,
        target: BinaryIO,
        options: Options,  # noqa: ARG002 - the form of app.inference.enlarge.enlarge
        engine: Engine,  # noqa: ARG002
        *,
        limits: Limits,  # noqa: ARG002
        cancelled: Callable[[], bool],
        header: Header | None,  # noqa: ARG002
    ) -> Report:
        with self.lock:
            self.running += 1
            self.most_running = max(self.most_running, self.running)
            self.threads.add(threading.current_thread().name)
        try:
            while self.hold is not None and not self.hold.wait(0.01):
                if cancelled():
                    with self.lock:
                        self.cancelled += 1
                    raise UpscaleCancelledError("Nobody wants it any more.")
            if self.fail is not None:
                raise self.fail
            with Image.open(source) as picture:
                large = picture.resize((picture.width * 2, picture.height * 2), Image.Resampling.NEAREST)
                if self.result is None:
                    large.save(target, "PNG")
                else:
                    target.write(self.result)
                with self.lock:
                    self.finished += 1
                return Report(
                    model="double",
                    version="1.2.3",
                    scale=2,
                    passes=(2,),
                    format="png",
                    media_type="image/png",
                    extension="png",
                    width=large.width,
                    height=large.height,
                    source_width=picture.width,
                    source_height=picture.height,
                    notices=("first-frame-only",) if picture.format == "GIF" else (),
                    timings={"decode": 0.001, "inference": 0.002, "encode": 0.003},
                    provider="none",
                    halo=0,
                    tile=(picture.height, picture.width),
                    tiles=1,
                )
        finally:
            with self.lock:
                self.running -= 1


@dataclass
class Live:
    """A server in a thread."""

    url: str
    host: str
    port: int
    service: Service
    server: uvicorn.Server

    def wait_until(self, condition: Callable[[], bool], seconds: float = 10.0) -> None:
        """Returns as soon as ``condition`` holds; fails when it does not in time."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "what was waited for did not happen"
            time.sleep(0.005)


@contextmanager
def live(
    computing: Computing,
    *,
    load: Callable[[Settings], Backend] | None = None,
    protocol: Any = "httptools",
    queue: Path | str | None = None,
    store: Path | Storage | None = None,
    **given: Any,
) -> Iterator[Live]:
    """Serves ``computing`` with these settings on a free port of loopback, over real sockets.

    ``queue``: the socket of a queue server, or its address; ``store``: what is stored lies there; without them there
    are none.
    """

    def fake(_: Settings) -> Backend:
        registry = Registry([(MANIFEST, Path())])
        return Backend(registry, cast("Engine", _NoEngine()), computing.enlarge)

    redis = None if queue is None else open_redis(queue if isinstance(queue, str) else f"unix://{queue}")
    app = create_app(
        Settings(**given),
        load=load or fake,
        redis=redis,
        storage=open_storage(store.as_uri()) if isinstance(store, Path) else store,
    )
    service: Service = app.state.service
    server = uvicorn.Server(
        uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="on", ws="none", http=protocol, timeout_graceful_shutdown=5
        )
    )
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    port = listener.getsockname()[1]
    one = Live(f"http://127.0.0.1:{port}", "127.0.0.1", port, service, server)
    try:
        one.wait_until(lambda: server.started and (load is not None or service.state == "ready"))
        yield one
    finally:
        if computing.hold is not None:
            computing.hold.set()
        server.should_exit = True
        thread.join(20)
        listener.close()
    assert not thread.is_alive(), "the server did not stop"


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The response's problem document, which must be this one and complete."""
    assert response.status_code == status, response.content[:500]
    assert response.headers["content-type"] == "application/problem+json"
    document = cast("dict[str, Any]", response.json())
    assert (document["status"], document["code"]) == (status, code)
    assert document["type"] == f"urn:chetko:problem:{code}"
    assert document["request_id"] == response.headers["x-request-id"]
    assert document["detail"][-1] in ".,;:?)" or "curl" in document["detail"]
    return document


def head(method: str, path: str, headers: Mapping[str, str]) -> bytes:
    """A request's bytes up to its body."""
    given = {"Host": "localhost", **headers}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def read_answer(connection: socket.socket) -> tuple[bytes, bytes]:
    """Head and body of one answer with Content-Length, not waiting for the connection to close."""
    data = b""
    while b"\r\n\r\n" not in data:
        received = connection.recv(65536)
        assert received, f"the connection closed after {data!r}"
        data += received
    top, _, body = data.partition(b"\r\n\r\n")
    length = int(re.search(rb"content-length: (\d+)", top.lower())[1])  # type: ignore[index]
    while len(body) < length:
        received = connection.recv(65536)
        assert received, "the connection closed within the body"
        body += received
    return top, body
