"""``make bench-queue``: strips per second that one queue server lets through when computing takes no time at all.

Real workers (app.jobs.worker) take real tasks of real jobs; only what computes is empty. Beside the rate this tells
what a strip costs the server itself, in commands and in its processor's time: workers may be many, the server is one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import redis as redis_sync

from app.inference.options import Options
from app.jobs import Jobs, NewJob, new_id, open_redis
from app.jobs.model import Job, Result, Source, job_from
from app.jobs.scripts import Scripts
from app.jobs.tasks import Task, parse_task
from app.jobs.worker import Worker
from app.settings import Settings
from app.storage import Storage, open_storage
from benchmarks.apart import Apart
from tests.queue_server import queue_server

LEAST = 500.0
"""Strips a second that are asked of one server."""
_POLL_SECONDS = 0.02
_IDLE_SECONDS = 3.0


class _Nothing:
    """Takes the place of ``app.jobs.work.Work``: every task is done as soon as it is begun."""

    device = "none"

    def __init__(self, strips: int) -> None:
        self._strips = strips

    def do(
        self,
        job: Job,
        task: Task,
        record: Mapping[str, str],  # noqa: ARG002 - the form of Work.do
        *,
        speed: float | None,  # noqa: ARG002
        cancelled: Callable[[], bool],  # noqa: ARG002
        progress: Callable[[float], None],  # noqa: ARG002
    ) -> dict[str, Any]:
        if task.kind == "prepare":
            return {"plan": "none", "units": self._strips, "cost": 1000, "assemble_cost": 100}
        if task.kind == "strip":
            # As a real one, which also tells its speed.
            return {"speed": {"name": job.speed, "value": 0.1}}
        return {"result": json.dumps(asdict(Result(f"jobs/{job.id}/none", 0, "image/png", "png", "")))}

    def tidy(self, *_: object) -> None:
        """Nothing was left."""

    def discard(self, *_: object) -> None:
        """Nothing was written."""


class Crew:
    """So many workers in one process and one event loop. Lives apart."""

    def __init__(self, url: str, folder: str, workers: int, strips: int) -> None:
        logging.disable(logging.INFO)
        began = threading.Event()
        threading.Thread(
            target=lambda: asyncio.run(_work(url, open_storage(f"file://{folder}"), workers, strips, began)),
            daemon=True,
        ).start()
        if not began.wait(60):
            raise RuntimeError("the workers did not begin")

    def processor_seconds(self) -> float:
        """That this process took since it began."""
        return time.process_time()


async def _work(url: str, storage: Storage, workers: int, strips: int, began: threading.Event) -> None:
    device = SimpleNamespace(engine=SimpleNamespace(device=SimpleNamespace(name="none")))
    crew = []
    for _ in range(workers):
        worker = Worker(Settings(), storage, open_redis(url), device)
        worker._work = _Nothing(strips)  # type: ignore[assignment]
        crew.append(worker.run())
    began.set()
    await asyncio.gather(*crew)


@dataclass(frozen=True)
class Rate:
    """What came of it."""

    workers: int
    strips: int
    seconds: float
    commands: float
    """Of the server, for each strip."""
    server_ms: float
    """Milliseconds of the server's processor for each strip."""
    worker_ms: float
    """The same of a worker's."""
    idle_ms: float
    """Milliseconds of the server's processor that each worker takes in a second in which there is nothing to do."""

    @property
    def per_second(self) -> float:
        return self.strips / self.seconds

    @property
    def limit(self) -> float:
        """Strips a second at which the server's one thread has no time left."""
        return 1000 / self.server_ms


def measure(url: str, *, jobs: int, strips: int, processes: int, workers: int) -> Rate:
    """``jobs`` of so many ``strips`` each, by ``processes`` x ``workers``; the server's database is emptied first."""
    with redis_sync.Redis.from_url(url) as client, tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        client.flushdb()
        crews = [stack.enter_context(Apart(Crew, url, folder, workers, strips)) for _ in range(processes)]
        idle = _told(client)
        time.sleep(_IDLE_SECONDS)
        before, spent = _told(client), sum(crew("processor_seconds") for crew in crews)
        began = time.perf_counter()
        ids = asyncio.run(_submit(url, folder, jobs))
        for job in ids:
            while client.hget(f"{{chetko}}:job:{job}", "state") != b"succeeded":
                time.sleep(_POLL_SECONDS)
        seconds = time.perf_counter() - began
        after, spent = _told(client), sum(crew("processor_seconds") for crew in crews) - spent
    total = jobs * strips
    return Rate(
        processes * workers, total, seconds,
        commands=(after["commands"] - before["commands"]) / total,
        server_ms=(after["seconds"] - before["seconds"]) * 1000 / total,
        worker_ms=spent * 1000 / total,
        idle_ms=(before["seconds"] - idle["seconds"]) * 1000 / (processes * workers * _IDLE_SECONDS),
    )  # fmt: skip


def _told(client: redis_sync.Redis) -> dict[str, float]:
    told: dict[str, Any] = client.info()
    return {
        "commands": float(told["total_commands_processed"]),
        "seconds": float(told["used_cpu_user_main_thread"]) + float(told["used_cpu_sys_main_thread"]),
    }


def memory(url: str, *, strips: int) -> tuple[float, float]:
    """(bytes of the server's memory for a strip that waits, bytes for a job that is finished and remembered)."""
    with redis_sync.Redis.from_url(url) as client, tempfile.TemporaryDirectory() as folder:
        client.flushdb()
        (job,) = asyncio.run(_submit(url, folder, 1))
        submitted = _memory(client)
        asyncio.run(_tasks(url, job, ["prepare.0.0"], strips))
        waiting = _memory(client)
        asyncio.run(_tasks(url, job, [*(f"strip.0.{number}" for number in range(strips)), "assemble.0.0"], strips))
        return (waiting - submitted) / strips, _memory(client)


def _memory(client: redis_sync.Redis) -> float:
    """Of all keys; the server's own total also moves with its clients."""
    return float(sum(client.memory_usage(key, samples=0) or 0 for key in client.scan_iter(count=1000)))


async def _tasks(url: str, job: str, names: Sequence[str], strips: int) -> None:
    """Has tasks done, as a worker tells the server of them."""
    redis = open_redis(url)
    tell, nothing = Scripts(redis), _Nothing(strips)
    for name in names:
        task = parse_task(f"{job}.1.{name}")
        fields = await tell("begin", task.id, "nobody")
        record = dict(zip(fields[::2], fields[1::2], strict=True))
        outcome = nothing.do(
            job_from(job, record), task, record, speed=None, cancelled=lambda: False, progress=lambda _: None
        )
        await tell("complete", task.id, json.dumps(outcome))
    await redis.aclose()


async def _submit(url: str, folder: str, count: int) -> list[str]:
    redis = open_redis(url)
    jobs = Jobs(redis, open_storage(f"file://{folder}"), Settings(cache_ttl=0))
    made = []
    for _ in range(count):
        id = new_id()  # noqa: A001 - what the interface calls it
        source = Source(f"jobs/{id}/none", "", 0, None, 6000, 4000, "png", "image/png", 1, 384_000_000)
        options = {name: value for name, value in Options().to_json().items() if name != "model"}
        made.append((await jobs.submit(NewJob(id, (source,), options, "none", "1", "none/x4@1"))).id)
    await redis.aclose()
    return made


@contextmanager
def server(given: str | None) -> Iterator[str]:
    """The server at the address, or one of our own: as ``chetko serve`` starts it, each write on the disk before it is
    acknowledged."""
    if given is not None:
        yield given
        return
    with queue_server() as own:
        yield own.url


def main() -> int:
    """1 if it lets fewer strips through than are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=4, help="at once (%(default)s)")
    parser.add_argument("--strips", type=int, default=500, help="of each job (%(default)s)")
    parser.add_argument("--processes", type=int, default=2, help="of workers (%(default)s)")
    parser.add_argument("--workers", type=int, nargs="+", default=[4, 16, 64], help="in each process (%(default)s)")
    parser.add_argument("--redis", metavar="URL", help="a server whose database may be emptied, instead of our own")
    parser.add_argument("-o", "--output", type=Path, help="write a JSON file too")
    given = parser.parse_args()
    found = []
    print(
        f"{'workers':>8}{'strips/s':>10}{'commands':>10}{'server ms':>11}{'worker ms':>11}{'idle ms/s':>11}"
        f"{'server limit':>14}"
    )
    with server(given.redis) as url:
        for workers in given.workers:
            rate = measure(url, jobs=given.jobs, strips=given.strips, processes=given.processes, workers=workers)
            found.append(rate)
            print(
                f"{rate.workers:8}{rate.per_second:10.0f}{rate.commands:10.1f}{rate.server_ms:11.3f}"
                f"{rate.worker_ms:11.2f}{rate.idle_ms:11.2f}{rate.limit:12.0f}/s",
                flush=True,
            )
        strip, job = memory(url, strips=1000)
        print(f"memory of the server: {strip:.0f} bytes for a strip that waits, {job:.0f} for a job that is finished")
    if given.output is not None:
        given.output.write_text(json.dumps([asdict(rate) for rate in found], indent=1) + "\n")
    return 0 if max(rate.per_second for rate in found) >= LEAST else 1


if __name__ == "__main__":
    raise SystemExit(main())
