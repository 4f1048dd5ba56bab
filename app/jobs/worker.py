"""One worker: takes tasks from the queue, has them computed in a thread, and tells how it goes."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any, NoReturn

from arq import Retry, func
from arq.connections import ArqRedis
from arq.worker import Worker as ArqWorker
from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.inference.backend import HasEngine
from app.inference.errors import DeviceLostError, UpscaleCancelledError
from app.jobs import keys
from app.jobs.connection import open_redis
from app.jobs.ending import ended
from app.jobs.model import Job, job_from
from app.jobs.scripts import MESSAGE_VERSION, Scripts
from app.jobs.tasks import ALLOWED_SECONDS, Task, parse_task
from app.jobs.verdict import judge
from app.jobs.work import Work
from app.settings import Settings
from app.storage import Storage, StorageError, storage_of
from app.telemetry import logs, metrics, traces

BEAT_SECONDS = 0.5
POLL_SECONDS = 0.05
_UNKNOWN_VERSION_SECONDS = 2.0
_HUNG_SECONDS = 60.0
"""A task that was told to stop stops at its next tile; one that does not within this time holds a call that hangs."""
_NOTE_SECONDS = 1.0

_log = logging.getLogger("chetko.worker")


@dataclass(slots=True)
class _Running:
    """A task that is being computed."""

    task: Task
    stop: threading.Event = field(default_factory=threading.Event)
    """Asks the thread to end with UpscaleCancelledError."""
    progress: float = 0.0


def run_worker(settings: Settings, backend: HasEngine) -> int:
    """Works until SIGTERM or SIGINT; a task that runs then gets ``drain_seconds`` to end, and goes back into the queue
    otherwise. Gives the process's exit code: 0. ``settings.redis_url`` must be set, as it is for every worker."""
    assert settings.redis_url is not None  # noqa: S101 - the command checks it
    # Its lines tell of delays that mean nothing here, since scores are no times; ours tell the same.
    logging.getLogger("arq.worker").setLevel(logging.WARNING)
    url = settings.redis_url

    async def work() -> None:
        worker = Worker(settings, storage_of(settings), open_redis(url), backend)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, worker.stop)
        await worker.run()

    asyncio.run(work())
    return 0


class Worker:
    """One worker of one event loop. One task at a time: when it dies, it is known what killed it."""

    def __init__(self, settings: Settings, storage: Storage, redis: Redis, backend: HasEngine) -> None:
        """``redis`` is closed when the worker ends."""
        self.id = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
        self._settings = settings
        self._redis = redis
        self._run_script = Scripts(self._redis)
        self._work = Work(storage, backend, settings)
        self._running: dict[str, _Running] = {}
        self._stopping = asyncio.Event()
        self._arq = _Arq(
            scripts=self._run_script,
            functions=[
                func(
                    self._take,  # type: ignore[arg-type]  # arq's own functions have no fixed arguments
                    name="task",
                    # Ours end earlier, are retried and counted; arq neither retries nor counts its own.
                    timeout=max(ALLOWED_SECONDS.values()) + 2 * _HUNG_SECONDS,
                    max_tries=1_000_000_000,
                    keep_result=0,
                )
            ],
            queue_name=keys.QUEUE,
            redis_pool=ArqRedis(
                pool_or_conn=self._redis.connection_pool,
                default_queue_name=keys.QUEUE,
                job_serializer=serialize,
                job_deserializer=json.loads,
            ),
            handle_signals=False,
            max_jobs=1,
            keep_result=0,
            poll_delay=POLL_SECONDS,
            health_check_key=keys.ARQ_HEALTH + self.id,
            health_check_interval=60,
            job_serializer=serialize,
            job_deserializer=json.loads,
            log_results=False,
        )

    def stop(self) -> None:
        """Takes no more tasks; the running one may end. Called twice: it is given back at once."""
        if self._stopping.is_set():
            for running in self._running.values():
                running.stop.set()
        else:
            _log.info("worker %s is asked to stop; %s", self.id, ", ".join(self._running) or "it has nothing to finish")
        self._arq.allow_pick_jobs = False
        self._stopping.set()

    async def run(self) -> None:
        """Returns after ``stop``."""
        beating = asyncio.create_task(self._beat())
        taking = asyncio.create_task(self._arq.async_run())
        stopping = asyncio.create_task(self._stopping.wait())
        _log.info("worker %s takes tasks", self.id)
        try:
            await asyncio.wait({taking, stopping}, return_when=asyncio.FIRST_COMPLETED)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.drain_seconds):
                    while self._running:  # noqa: ASYNC110 - stop() may be called again meanwhile
                        await asyncio.sleep(0.05)
            for running in self._running.values():
                running.stop.set()
            for task in list(self._arq.tasks.values()):
                task.cancel()
            await asyncio.gather(*self._arq.tasks.values(), return_exceptions=True)
        finally:
            failure = await ended(taking, beating, stopping)
            with suppress(RedisError, OSError):
                await self._run_script("depart", self.id)
                await self._redis.delete(keys.ARQ_HEALTH + self.id)
            await self._redis.aclose()
        if failure is not None:
            raise failure
        _log.info("worker %s ended", self.id)

    async def _beat(self) -> None:
        about = {"host": socket.gethostname(), "pid": os.getpid(), "device": self._work.device}
        away = False
        while True:
            try:
                told = json.dumps(about | {"tasks": list(self._running)})
                for task in await self._run_script("beat", self.id, told, *self._running):
                    if task in self._running:
                        self._running[task].stop.set()
                if away:
                    _log.info("the queue answers again")
                away = False
            except (RedisError, OSError) as error:
                if not away:
                    _log.warning("the queue does not answer (%s); what runs goes on", error)
                away = True
            await asyncio.sleep(BEAT_SECONDS)

    async def _take(self, _: dict[Any, Any], *, v: int, task: str, **__: Any) -> None:
        """arq's function: everything that the queue holds is one of these."""
        if v != MESSAGE_VERSION:
            # Another release's, while both run: it has workers of its own.
            raise Retry(defer=_UNKNOWN_VERSION_SECONDS)
        fields = await self._tell("begin", task, self.id)
        if not fields:
            return
        record = dict(zip(fields[::2], fields[1::2], strict=True))
        parsed = parse_task(task)
        running = self._running[task] = _Running(parsed)
        logs.job_id.set(parsed.job)  # arq runs each task in a context of its own
        try:
            with traces.span(parsed.kind, parent=json.loads(record.get("trace") or "{}"), task=task):
                await self._compute(running, job_from(parsed.job, record), record)
        finally:
            del self._running[task]

    async def _compute(self, running: _Running, job: Job, record: dict[str, str]) -> None:
        task = running.task
        loop = asyncio.get_running_loop()
        noting = asyncio.create_task(self._note(running)) if task.kind in ("assemble", "pack") else None
        began = loop.time()
        _log.info("%s begins", task.id)
        speed = await self._speed(job.speed) if task.kind == "prepare" else None
        thread = loop.run_in_executor(
            None,
            copy_context().run,
            lambda: self._work.do(
                job, task, record, speed=speed, cancelled=running.stop.is_set, progress=_setter(running)
            ),
        )
        try:
            async with asyncio.timeout(ALLOWED_SECONDS[task.kind]):
                outcome = await asyncio.shield(thread)
        except asyncio.CancelledError:
            await self._end_thread(running, thread)
            await self._tell("leave", task.id)
            raise  # arq puts it back into the queue
        except Exception as error:
            if isinstance(error, UpscaleCancelledError) and running.stop.is_set():
                await self._tell("leave", task.id)
                if self._stopping.is_set():
                    raise asyncio.CancelledError from None  # arq puts it back into the queue
                return
            if isinstance(error, TimeoutError) and not thread.done():
                await self._end_thread(running, thread)
            await self._failed(task, error, int(record.get(f"tries:{_name(task)}", "0")))
        else:
            metrics.TASKS.labels(task.kind, "done").inc()
            counts = await self._tell("complete", task.id, json.dumps(outcome))
            _log.info("%s %s after %.2f s", task.id, "done" if counts else "not wanted any more", loop.time() - began)
            try:
                if counts == 2:
                    await asyncio.to_thread(self._work.tidy, job, task, record)
                elif counts == 0:
                    await asyncio.to_thread(self._work.discard, outcome)
            except (StorageError, OSError) as error:
                _log.warning("%s left something behind, which goes with its job: %s", task.id, error)
        finally:
            if noting is not None:
                noting.cancel()

    async def _speed(self, name: str) -> float | None:
        with suppress(RedisError, OSError):
            found = await self._redis.hget(keys.SPEED, name)  # type: ignore[misc]
            return None if found is None else float(found)
        return None

    async def _failed(self, task: Task, error: Exception, before: int) -> None:
        if isinstance(error, DeviceLostError):
            # It would fail every task that it takes, faster than any other worker does them.
            _die(f"{task.id}: {error}")
        verdict = judge(error)
        _log.warning("%s failed (%s): %s", task.id, verdict.code, error, exc_info=error if verdict.log else None)
        metrics.TASKS.labels(task.kind, "failed" if verdict.tries <= 1 else "retried").inc()
        if verdict.tries <= 1:
            await self._tell("fail", task.id, verdict.code, verdict.detail)
            return
        if await self._tell("again", task.id, verdict.tries, verdict.code, verdict.detail):
            raise Retry(defer=verdict.wait_seconds * 2**before)

    async def _end_thread(self, running: _Running, thread: asyncio.Future[Any]) -> None:
        """Returns when the thread has ended; a thread that cannot end takes the process with it."""
        running.stop.set()
        await asyncio.wait({thread}, timeout=_HUNG_SECONDS)
        if not thread.done():
            _die(f"{running.task.id} hangs")
        if not thread.cancelled():
            thread.exception()

    async def _note(self, running: _Running) -> None:
        told = 0.0
        while True:
            await asyncio.sleep(_NOTE_SECONDS)
            if running.progress > told:
                told = running.progress
                with suppress(RedisError, OSError):
                    await self._run_script("note", running.task.id, f"{told:.4f}")

    async def _tell(self, script: str, *arguments: str | float) -> Any:
        """Runs a script, and again while the queue is away: what was computed is not lost with a connection."""
        while True:
            try:
                return await self._run_script(script, *arguments)
            except (RedisError, OSError):
                if self._stopping.is_set():
                    raise
                await asyncio.sleep(BEAT_SECONDS)


class _Arq(ArqWorker):
    """arq's worker, which takes a task in one round trip and does not end when Redis is away for a while."""

    def __init__(self, *, scripts: Scripts, **options: Any) -> None:
        super().__init__(**options)
        self._scripts = scripts

    async def _poll_iteration(self) -> None:
        """arq's own looks at every entry of the queue in turn, also at those that other workers have in hand: with
        64 workers a strip cost the server four times as much as with 8, see docs/capacity.md.
        """
        try:
            while self.allow_pick_jobs and self.job_counter < self.max_jobs:
                taken = await self._scripts("take", int(self.in_progress_timeout_s * 1000))
                if not taken:
                    break
                task, score = taken
                await self.sem.acquire()
                self.job_counter += 1
                running = self.tasks[task] = self.loop.create_task(self.run_job(task, int(float(score))))
                running.add_done_callback(lambda _: self._release_sem_dec_counter_on_complete())
                # What ends soon is followed by the next at once, not at the next poll.
                await asyncio.wait({running}, timeout=self.poll_delay_s)
                self._drop_finished()
            self._drop_finished()
            await self.heart_beat()
        except (RedisError, OSError):
            # It may have failed between taking a place and giving it to a task: the places are counted anew.
            busy = sum(not task.done() for task in self.tasks.values())
            self.job_counter = busy
            self.sem = asyncio.BoundedSemaphore(self.max_jobs + 1)
            for _ in range(busy):
                await self.sem.acquire()
            await asyncio.sleep(BEAT_SECONDS)

    def _drop_finished(self) -> None:
        """Forgets tasks that have ended; raises what arq's own bookkeeping raised."""
        for task, running in list(self.tasks.items()):
            if running.done():
                del self.tasks[task]
                running.result()


def _die(why: str) -> NoReturn:
    """Ends the process as if it had been killed: the janitor frees its task, and counts the death against that."""
    _log.critical("%s; this worker ends, so that another one can begin", why)
    os._exit(70)


def serialize(message: dict[str, Any]) -> bytes:
    """A task's message as it lies in Redis; the scripts write the same form (see ``put`` in lua/common.lua)."""
    return json.dumps(message, separators=(",", ":")).encode()


def _name(task: Task) -> str:
    return f"{task.kind}.{task.picture}.{task.unit}"


def _setter(running: _Running) -> Callable[[float], None]:
    def progress(done: float) -> None:
        running.progress = done

    return progress
