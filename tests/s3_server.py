"""The store that tests use: a folder, or with CHETKO_TEST_STORAGE=s3 a bucket whose server checks signatures."""

from __future__ import annotations

import ctypes
import http.client
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

BUCKET = "chetko-test"
ACCESS_KEY_ID = "CHETKOTESTKEYID"


@dataclass(frozen=True)
class S3Server:
    """An rclone that serves a folder by the S3 protocol to whoever signs with these keys, and to nobody else."""

    endpoint: str
    secret_access_key: str
    folder: Path
    """What is in the bucket: each file is an object."""
    process: subprocess.Popen[bytes]

    def environ(self) -> dict[str, str]:
        """The variables by which a service finds the bucket ``BUCKET``."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "AWS_REGION": "us-east-1",
        }


@contextmanager
def start_s3(place: Path, *, corrected: bool = True) -> Iterator[S3Server]:
    """A server with one empty bucket below ``place``; it ends with this block or with this process. ``corrected``: it
    answers ranges as S3 does, see ``_front``; else as rclone does, which compose file and cluster run."""
    (place / "buckets" / BUCKET).mkdir(parents=True, exist_ok=True)
    secret = secrets.token_hex(16)
    log = place / "rclone.log"
    process = subprocess.Popen(
        [
            *(Path(sys.executable).parent / "rclone", "serve", "s3", place / "buckets", "--addr", "127.0.0.1:0"),
            *("--auth-key", f"{ACCESS_KEY_ID},{secret}", "--config", os.devnull, "--cache-dir", place / "cache"),
            *("--log-file", log),
        ],
        preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - one call, no locks
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            seen = log.read_text() if log.exists() else ""
            if ready := re.search(r"Starting s3 server on \[(http://[^]]+?)/?\]", seen):
                break
            assert process.poll() is None, f"rclone ended:\n{seen}"
            assert time.monotonic() < deadline, f"rclone does not start:\n{seen}"
            time.sleep(0.02)
        with _front(ready[1].removeprefix("http://")) if corrected else nullcontext(ready[1]) as endpoint:
            yield S3Server(endpoint, secret, place / "buckets" / BUCKET, process)
    finally:
        process.kill()
        process.wait(10)


@contextmanager
def _front(server: str) -> Iterator[str]:
    """Passes requests on, and corrects two faults of rclone's server (1.75). It answers a range with 200 where the
    protocol wants 206 (its library's pull request 121), and obstore rightly refuses that. And while an object is being
    replaced there is none for a moment, where S3 has the old one or the new one: here one request for an object waits
    for the other."""
    busy: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    class Front(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def relay(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            path, _, query = self.path.partition("?")
            alone = nullcontext() if "partNumber=" in query else busy[path]  # parts replace nothing yet
            with alone, closing(http.client.HTTPConnection(server, timeout=60)) as connection:
                # Host and everything else that is signed stays as it is.
                connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    connection.putheader(name, value)
                connection.endheaders(body)
                answer = connection.getresponse()
                data = answer.read()
            self.send_response_only(
                206 if answer.status == 200 and "Content-Range" in answer.headers else answer.status
            )
            length = answer.headers.get("Content-Length") if self.command == "HEAD" else str(len(data))
            for name, value in answer.headers.items():
                if name.lower() not in {"content-length", "transfer-encoding"}:
                    self.send_header(name, value)
            if length is not None:
                self.send_header("Content-Length", length)
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = relay  # noqa: N815 - names of http.server

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A server that was killed on purpose: the caller sees its connection close, and that is all."""

    with Quiet(("127.0.0.1", 0), Front) as front:
        threading.Thread(target=front.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{front.server_port}"
        finally:
            front.shutdown()


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One for the whole session."""
    with start_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def storage_url(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an empty store. For a bucket the environment is set so that child processes find it too."""
    if os.environ.get("CHETKO_TEST_STORAGE", "local") != "s3":
        return (tmp_path / "objects").as_uri()
    for name, value in request.getfixturevalue("s3_server").environ().items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{secrets.token_hex(8)}"
