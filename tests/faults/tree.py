"""A whole ``chetko serve`` with its children, to be hurt: real processes, a real folder, real kills."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
import redis

from app.jobs import tied
from app.jobs.data_folder import Process, note_in
from app.processes import chetko_command

# A connection that was kept would fail once after each kill.
_ONE_REQUEST_EACH = httpx.Limits(max_keepalive_connections=0)

# A test run that is killed takes its services with it.
_TIED = (sys.executable, "-I", "-S", tied.__file__)

FINAL = ("succeeded", "failed", "cancelled", "expired")


Found = TypeVar("Found")


def wait_until(look: Callable[[], Found | None], what: str, seconds: float = 120, every: float = 0.02) -> Found:
    """The first truthy answer of ``look``; fails when there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:g} s"
        time.sleep(every)


@dataclass
class Tree:
    """One ``chetko serve`` after another on the same data folder."""

    folder: Path
    log_file: Path
    environ: Mapping[str, str]
    arguments: Sequence[str] = ()
    prefix: Sequence[str] = ()
    """What runs it, as in ``taskset -c 0``."""
    url: str = ""
    process: subprocess.Popen[bytes] | None = None
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=60, limits=_ONE_REQUEST_EACH))
    """Kept: httpx reads the machine's certificates for every new one, 30 ms of a core that is being measured."""

    # Life

    def start(self) -> None:
        """Returns when it takes pictures."""
        already = self.log_file.stat().st_size if self.log_file.exists() else 0
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [*_TIED, str(os.getpid()), "0", *self.prefix, *chetko_command(), "serve", *self.arguments],
                env=self._environ(),
                stdout=log,
                stderr=log,
            )

        def ready() -> str | None:
            assert self.process is not None
            said = self.said()[already:]
            assert self.process.poll() is None, f"chetko serve ended:\n{said}"
            found = re.search(r"^Chetko is ready: (http://\S+)$", said, re.MULTILINE)
            return found[1] if found else None

        self.url = wait_until(ready, "the start")

    def stop(self) -> int:
        """As an operator does."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(120)

    def kill_serve(self) -> None:
        """Kills the API's process only; its children are the kernel's affair."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def kill_everything(self) -> None:
        """Kills all processes as a power cut would, in no order."""
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        assert self.process is not None
        self.process.wait()

    def add_worker(self, *, prefix: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        """One more ``chetko worker`` on the same queue."""
        with self.log_file.open("ab") as log:
            worker = subprocess.Popen(
                [*_TIED, str(os.getpid()), "0", *prefix, *chetko_command(), "worker"],
                env=self._environ(),
                stdout=log,
                stderr=log,
            )
        self.workers.append(worker)
        return worker

    def processes(self) -> list[psutil.Process]:
        """All of them, the API's first."""
        assert self.process is not None
        found = []
        with suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self.process.pid)
            found = [parent, *parent.children(recursive=True)]
        for worker in self.workers:
            if worker.poll() is None:
                found.append(psutil.Process(worker.pid))
        return found

    def child(self, name: str) -> Process | None:
        """``worker`` or ``queue server`` of this serve, if it lives."""
        note = note_in(self.folder)
        child = note.children.get(name) if note is not None else None
        return child if child is not None and child.alive() else None

    def kill(self, name: str) -> Process:
        """Kills that child; gives which one it was."""
        child = wait_until(lambda: self.child(name), f"a living {name}")
        os.kill(child.pid, signal.SIGKILL)
        return child

    def kill_decoders(self) -> int:
        """Kills every process that decodes a picture or waits for one; gives how many there were."""
        killed = 0
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                if "app.imaging.decode_process" in process.cmdline():
                    process.kill()
                    killed += 1
        return killed

    def end(self) -> None:
        """Whatever is left is killed."""
        self.client.close()
        if self.process is not None and self.process.poll() is None:
            self.kill_everything()
        for worker in self.workers:
            worker.kill()
            worker.wait()
        note = note_in(self.folder)
        for child in note.children.values() if note is not None else ():
            if child.alive():
                os.kill(child.pid, signal.SIGKILL)

    def _environ(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("CHETKO_")}
        return {**inherited, "CHETKO_PORT": "0", "CHETKO_DATA_DIR": str(self.folder), **self.environ}

    # What a client does. Everything is asked again while the service is away or says 503, as its users are told to.

    def ask(self, method: str, path: str, *, seconds: float = 120, **given: Any) -> httpx.Response:
        """The first answer that is none of 503 (or none at all)."""
        deadline = time.monotonic() + seconds
        while True:
            last: object
            try:
                answer = self.client.request(method, self.url + path, **given)
            except httpx.TransportError as error:
                last = error
            else:
                if answer.status_code != 503:
                    return answer
                last = answer.text
            assert time.monotonic() < deadline, f"{method} {path}: {last}\n{self.said()[-3000:]}"
            time.sleep(0.05)

    def submit(self, picture: bytes, query: str, *, key: str | None = None, fresh: bool = True) -> str:
        """Sends a picture as a job and gives its id; sent again under the same key until it is acknowledged."""
        headers = {"Prefer": "respond-async", "Idempotency-Key": key or uuid.uuid4().hex}
        if fresh:
            headers["Cache-Control"] = "no-cache"
        while True:
            answer = self.ask(
                "POST", f"/v1/upscale?{query}", files={"image": ("picture.png", picture)}, headers=headers
            )
            if answer.status_code == 409 and answer.json()["code"] == "idempotency_in_progress":
                time.sleep(0.2)  # the request that was cut off counts as being received for a while
                continue
            assert answer.status_code == 202, answer.text
            return str(answer.json()["id"])

    def job(self, id: str) -> dict[str, Any]:
        answer = self.ask("GET", f"/v1/jobs/{id}")
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    def wait_for(self, id: str, *states: str, seconds: float = 300) -> dict[str, Any]:
        """The job once it is in one of ``states`` (default: final ones); fails in another final state."""

        def look() -> dict[str, Any] | None:
            job = self.job(id)
            if job["state"] in (states or FINAL):
                return job
            assert job["state"] not in FINAL, job
            return None

        return wait_until(look, f"{id} reaching {states or FINAL}", seconds, every=0.1)

    def result(self, id: str) -> bytes:
        answer = self.ask("GET", f"/v1/jobs/{id}/result")
        assert answer.status_code == 200, answer.text
        return answer.content

    # What an operator sees

    def said(self) -> str:
        return self.log_file.read_text("utf-8", errors="replace")

    def files(self, under: str = "objects") -> list[str]:
        """Every file that lies in storage."""
        folder = self.folder / under
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())

    def redis(self) -> redis.Redis:
        note = wait_until(lambda: note_in(self.folder), "a note")
        assert note.queue_url is not None
        return redis.Redis.from_url(note.queue_url)

    def keys(self) -> list[str]:
        """Every key in the queue server."""
        with self.redis() as client:
            return sorted(key.decode() for key in client.scan_iter(count=1000))


@contextmanager
def tree(
    folder: Path, *, arguments: Sequence[str] = (), prefix: Sequence[str] = (), start: bool = True, **environ: str
) -> Iterator[Tree]:
    """A running service in ``folder``, with these ``CHETKO_`` settings (lower case, without prefix)."""
    settings = {f"CHETKO_{name.upper()}": value for name, value in environ.items()}
    one = Tree(folder / "data", folder / "log", settings, arguments, prefix)
    try:
        if start:
            one.start()
        yield one
    except BaseException:
        if one.log_file.exists():
            sys.stderr.write(one.said()[-8000:])
        raise
    finally:
        one.end()
