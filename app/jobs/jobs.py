"""The one door to jobs, for the HTTP API and the operator's command line."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import logging
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, BinaryIO

from redis.asyncio import Redis

from app.imaging.header import Header, read_header
from app.jobs import keys, places
from app.jobs.changes import Changes
from app.jobs.connection import queue_errors
from app.jobs.egress import Gate
from app.jobs.ending import ended
from app.jobs.errors import IdempotencyBusyError, IdempotencyConflictError, QueueUnavailableError, QuotaError
from app.jobs.janitor import Janitor
from app.jobs.model import Event, Health, Job, NewJob, Source, job_from, record_of
from app.jobs.scripts import Scripts
from app.jobs.tiles import Tiles
from app.jobs.webhooks import Webhooks
from app.settings import Settings
from app.storage import Storage, StorageError
from app.telemetry import metrics

_log = logging.getLogger("chetko.jobs")

_COPY_BYTES = 1 << 20
_RESERVED_MS = 30_000
"""How long a reservation outlives its last renewal: a request whose process died frees its key after that."""
_LOOK_SECONDS = 2.0
"""A watcher looks at its job at least so often, should a wake-up have been lost."""
_MOST_EVENTS_A_SECOND = 5
_HEALTH_SECONDS = 3.0
_UNMEASURED_SECONDS = 0.5
"""Per output megapixel, for the fair order only, until a model was measured."""


class Jobs:
    """Submits, shows, watches and ends jobs. Belongs to one event loop; storage is used in threads.

    Every method raises QueueUnavailableError where Redis does not answer, and those that touch bytes StorageError.
    """

    def __init__(
        self,
        redis: Redis,
        storage: Storage,
        settings: Settings,
        *,
        read_header: Callable[[BinaryIO], Header] = read_header,
        document: Callable[[Job], Mapping[str, Any]] | None = None,
    ) -> None:
        """``redis``: as ``open_redis`` makes them; closing it stays the caller's. ``read_header`` reads the headers of
        pictures that are staged, in a thread. ``document``: what webhooks tell of a job; without it, and without a
        secret in the settings, none are sent.
        """
        self._read_header = read_header
        self.storage = storage
        self.tiles = Tiles(storage)
        self._settings = settings
        self._redis = redis
        self._run = Scripts(self._redis)
        self._changes = Changes(self._redis)
        self._janitor = Janitor(self._redis, self._run, storage)
        self._document = document
        self._webhooks: Webhooks | None = None
        if document is not None and settings.webhook_secret is not None:
            gate = Gate(settings.egress_allowed_hosts)
            self._webhooks = Webhooks(redis, gate, settings.webhook_secret.get_secret_value())
        self._tasks: list[asyncio.Task[None]] = []
        self.last_health: Health | None = None
        """As it was some seconds ago, for whoever must not wait; None until it was looked at."""
        self.last_speeds: Mapping[str, float] = {}
        """As ``speeds`` gave it some seconds ago; empty until then."""

    @property
    def sends_webhooks(self) -> bool:
        """Whether a job's webhook will be told."""
        return self._webhooks is not None

    async def connect(self) -> None:
        """Begins to listen and to keep order; does not wait for Redis, which may come later."""
        self._tasks = [asyncio.create_task(self._changes.listen()), asyncio.create_task(self._janitor.keep_order())]
        self._tasks.append(asyncio.create_task(self._watch_health()))
        if self._webhooks is not None:
            self._tasks.append(asyncio.create_task(self._webhooks.run(self._told)))

    async def _watch_health(self) -> None:
        while True:
            self.last_health = await self.health()
            with suppress(QueueUnavailableError):
                self.last_speeds = await self.speeds()
            await asyncio.sleep(_HEALTH_SECONDS)

    async def _told(self, id: str, event: str) -> tuple[str, Mapping[str, Any]] | None:  # noqa: A002
        """Whom to tell of a job's event, and what; None where nobody asked for it."""
        job = await self.get(id)
        if job is None or job.webhook is None or self._document is None:
            return None
        if job.webhook.events and event not in job.webhook.events:
            return None
        return job.webhook.url, self._document(job)

    async def close(self) -> None:
        """Ends what ``connect`` began."""
        failure = await ended(*self._tasks)
        with suppress(QueueUnavailableError):
            async with queue_errors():
                await self._janitor.give_up()
        if failure is not None:
            raise failure

    async def stage(
        self,
        id: str,  # noqa: A002 - the word of the interface
        number: int,
        file: BinaryIO,
        *,
        name: str | None,
        work: int,
    ) -> Source:
        """Puts the picture in ``file`` (seekable) into storage as source ``number`` of the job ``id``, durably.
        ``work`` as in Source.

        Raises ImagingError for what its header shows, and StorageError.
        """
        return await asyncio.to_thread(self._stage, id, number, file, name, work)

    def _stage(self, id: str, number: int, file: BinaryIO, name: str | None, work: int) -> Source:  # noqa: A002
        file.seek(0)
        header = self._read_header(file)
        file.seek(0)
        digest, size = hashlib.sha256(), 0
        key = places.source(id, number)
        with self.storage.writer(key) as writer:
            while data := file.read(_COPY_BYTES):
                digest.update(data)
                size += len(data)
                writer.write(data)
            writer.commit()
        return Source(
            key=key,
            sha256=digest.hexdigest(),
            bytes=size,
            name=name,
            width=header.width,
            height=header.height,
            format=header.format,
            media_type=f"image/{header.format}",
            frames=header.frames,
            work=work,
        )

    async def unstage(self, id: str) -> None:  # noqa: A002
        """Removes what was staged for a job that did not come to be."""
        await asyncio.to_thread(self.storage.delete_prefix, places.folder(id))

    async def reserve(self, owner: str, key: str) -> str:
        """Reserves an Idempotency-Key for a request that is about to receive its pictures; gives the token for
        ``Idempotency``. The key of a finished submission is not held back: its fingerprint decides, in ``submit``.

        Raises IdempotencyBusyError while another request holds it.
        """
        token = "receiving:" + secrets.token_hex(8)
        await self.keep_reserved(owner, key, token)
        return token

    async def keep_reserved(self, owner: str, key: str, token: str) -> None:
        """Renews a reservation; to be called every few seconds while a picture is received."""
        async with queue_errors():
            answer = await self._run("reserve", _idempotency_key(owner, key), token, _RESERVED_MS)
        if answer == "receiving":
            raise IdempotencyBusyError(
                "A request with this Idempotency-Key is being received at this moment. Try again in 2 seconds."
            )

    async def release(self, owner: str, key: str, token: str) -> None:
        """Gives up a reservation; does nothing once the job is made."""
        async with queue_errors():
            await self._run("release", _idempotency_key(owner, key), token)

    async def submit(self, new: NewJob) -> Job:
        """Makes the job, durably, or gives the one that the same Idempotency-Key made, or one that is finished at once
        because the same work was done before. Sources of ``new`` that are not needed then are removed.

        Raises IdempotencyConflictError, IdempotencyBusyError, and QuotaError.
        """
        cache = "" if not self._settings.cache_ttl else self._cache_key(new)
        record = record_of(
            new,
            ttl_ms=int(self._settings.result_ttl * 1000),
            cache=cache,
            cache_ttl_ms=int(self._settings.cache_ttl * 1000),
            seconds=await self._expected_seconds(new),
        )
        idempotency = new.idempotency
        async with queue_errors():
            outcome, id = await self._run(  # noqa: A001
                "submit",
                new.id,
                json.dumps(record),
                _idempotency_key(new.owner, idempotency.key) if idempotency else "",
                idempotency.token if idempotency else "",
                idempotency.fingerprint if idempotency else "",
                "" if new.fresh else cache,
                "" if new.most_unfinished is None else new.most_unfinished,
                "" if new.most_stored is None else new.most_stored,
            )
        if outcome in ("same", "conflict", "receiving", "busy", "full"):
            await self.unstage(new.id)
        if outcome == "full":
            raise storage_used_up(new.most_stored or 0)
        if outcome == "busy":
            raise QuotaError(
                f"{new.most_unfinished} jobs of this key are not finished yet, and it may have no more. Wait for one "
                "of them, or cancel one.",
                limit=new.most_unfinished or 0,
                retry_after=5,
            )
        if outcome == "conflict":
            raise IdempotencyConflictError(
                "This Idempotency-Key was used with another picture or other options. Use a new key for new work."
            )
        if outcome == "receiving":
            raise IdempotencyBusyError(
                "A request with this Idempotency-Key is being received at this moment. Try again in 2 seconds."
            )
        if cache and outcome in ("made", "answered"):
            metrics.CACHE_REQUESTS.labels("hit" if outcome == "answered" else "miss").inc()
        _log.info("%s %s (%s)", id, outcome, new.model)
        job = await self.get(id)
        if job is None:  # removed between two calls, by its owner
            raise QueueUnavailableError("The job was removed while it was made. Send it again.")
        return job

    async def _expected_seconds(self, new: NewJob) -> Sequence[float]:
        speed = (await self.speeds()).get(new.speed, _UNMEASURED_SECONDS)
        return [source.work / 1e6 * speed for source in new.sources]

    def _cache_key(self, new: NewJob) -> str:
        what = [
            [source.sha256 for source in new.sources],
            dict(new.options),
            new.model,
            new.version,
            [source.name for source in new.sources] if new.batch else None,
        ]
        digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
        who = "*" if self._settings.cache_across_owners else f"={new.owner}"
        return f"{keys.CACHE}{who}:{digest}"

    async def get(self, id: str) -> Job | None:  # noqa: A002
        """The job as it stands; None for one that there is no record of (any more)."""
        async with queue_errors(), self._redis.pipeline(transaction=True) as pipe:
            pipe.hgetall(keys.JOB + id)
            pipe.zrank(keys.WAITING, id)
            pipe.zcard(keys.ACTIVE)
            pipe.zcard(keys.WORKERS)
            pipe.hgetall(keys.SPEED)
            record, rank, active, workers, speeds = await pipe.execute()
        if not record:
            return None
        job = job_from(id, _decoded(record))
        if job.is_final:
            return job
        speed = speeds.get(job.speed.encode())
        left = None
        if speed is not None and workers:
            work = float(speed) * sum(source.work for source in job.sources) / 1e6
            # All jobs that are active share the workers evenly.
            left = round(work * (1 - job.progress) * max(1, active) / workers, 1)
        return replace(job, position=rank if job.state == "queued" else None, seconds_left=left)

    async def list(self, owner: str, *, cursor: str | None, limit: int) -> tuple[Sequence[Job], str | None]:
        """``limit`` jobs of the owner, the newest first, from ``cursor`` on; and the cursor of those that follow.

        Raises ValueError for a cursor that this method did not give.
        """
        return await self._listed(keys.OWNER + owner, cursor, limit)

    async def list_all(self, *, cursor: str | None, limit: int) -> tuple[Sequence[Job], str | None]:
        """The same of all owners, for operators."""
        return await self._listed(keys.ALL, cursor, limit)

    async def _listed(self, index: str, cursor: str | None, limit: int) -> tuple[Sequence[Job], str | None]:
        before, after = _parse_cursor(cursor) if cursor else (float("inf"), "")
        found: deque[Job] = deque()
        offset = 0
        while True:
            async with queue_errors():
                page: Sequence[tuple[bytes, float]] = await self._redis.zrevrangebyscore(
                    index, before, "-inf", start=offset, num=limit + 1, withscores=True
                )
            offset += len(page)
            for member, score in page:
                id = member.decode()  # noqa: A001
                if cursor and score == before and id >= after:
                    continue  # of the same millisecond, and told already
                job = await self.get(id)
                if job is None:
                    continue
                if len(found) == limit:
                    last = found[-1]
                    return tuple(found), _cursor(last)
                found.append(job)
            if len(page) <= limit:
                return tuple(found), None

    async def events(self, id: str, *, after: int | None = None) -> AsyncIterator[Event]:  # noqa: A002, ARG002
        """A snapshot, then every change that there is time to tell, then the end. Ends at once for an unknown job.

        ``after``, what the watcher saw last, changes nothing: the snapshot holds all of it. While Redis is away
        nothing comes; afterwards it goes on.
        """
        last: Job | None = None
        with self._changes.watch(id) as changed:
            while True:
                changed.clear()
                try:
                    job = await self.get(id)
                except QueueUnavailableError:
                    if last is None:
                        raise
                    await asyncio.sleep(_LOOK_SECONDS)
                    continue
                if job is None:
                    if last is not None:  # removed: nothing more will come
                        yield Event(last.version + 1, "end", replace(last, state="cancelled", result=None))
                    return
                if last is None:
                    yield Event(job.version, "snapshot", job)
                if job.is_final:
                    yield Event(job.version + 1, "end", job)
                    return
                if last is not None and job.version != last.version:
                    yield Event(job.version, "change", job)
                last = job
                await asyncio.sleep(1 / _MOST_EVENTS_A_SECOND)
                with suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), _LOOK_SECONDS)

    async def wait(self, id: str, seconds: float) -> Job | None:  # noqa: A002
        """The job once it is final, or as it stands after ``seconds``; None for one that there is no record of."""
        with self._changes.watch(id) as changed, suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    changed.clear()
                    job = await self.get(id)
                    if job is None or job.is_final:
                        return job
                    with suppress(TimeoutError):
                        await asyncio.wait_for(changed.wait(), _LOOK_SECONDS)
        return await self.get(id)

    async def cancel(self, id: str, *, remove: bool = False) -> bool:  # noqa: A002
        """Ends an unfinished job and has its files removed; with ``remove``, removes a finished one altogether.

        Computing stops at the next tile, well within a second. False for a job that there is no record of.
        """
        async with queue_errors():
            return bool(await self._run("cancel", id, int(remove)))

    async def retry(self, id: str) -> str:  # noqa: A002
        """Begins a failed job again; gives the state it had, ``""`` for a job that there is no record of. Any other
        state than ``failed`` is left as it is."""
        async with queue_errors():
            return str(await self._run("retry", id))

    async def dig(self) -> None:
        """Deletes the files of removed jobs now; a running service does it within a second by itself."""
        async with queue_errors():
            await self._janitor.dig()

    async def speeds(self) -> dict[str, float]:
        """Measured seconds per output megapixel, by ``speed_name``."""
        async with queue_errors():
            found: Mapping[bytes, bytes] = await self._redis.hgetall(keys.SPEED)  # type: ignore[misc]
        return {name.decode(): float(value) for name, value in found.items()}

    async def health(self) -> Health:
        """How the queue and the storage stand; raises nothing."""
        problems = []
        workers = queued = active = running = stored = 0
        oldest = None
        reachable = writable = True
        try:
            async with queue_errors(), self._redis.pipeline(transaction=True) as pipe:
                pipe.zcard(keys.WORKERS)
                pipe.zcard(keys.WAITING)
                pipe.zcard(keys.ACTIVE)
                pipe.hlen(keys.RUNNING)
                pipe.zrange(keys.ACTIVE, 0, 0, withscores=True)
                pipe.get(keys.TOTAL)
                pipe.time()
                workers, queued, active, running, first, total, (seconds, micros) = await pipe.execute()
            stored = int(total or 0)
            if first and queued:
                oldest = max(0.0, seconds + micros / 1e6 - first[0][1] / 1000)
            if not workers:
                problems.append("No worker is alive, so jobs wait.")
        except QueueUnavailableError as error:
            reachable = False
            problems.append(error.message)
        try:
            await asyncio.to_thread(self.storage.check)
        except StorageError as error:
            writable = False
            problems.append(error.message)
        return Health(reachable, writable, workers, queued, active, oldest, running, stored, tuple(problems))


def storage_used_up(limit: int) -> QuotaError:
    """What an owner is told whose ``limit`` bytes are used up."""
    return QuotaError(
        f"What this key stores would be more than its {limit // (1024 * 1024)} MiB. Delete uploads and jobs that you "
        "no longer need.",
        limit=limit,
        retry_after=60,
    )


def _decoded(record: Mapping[bytes, bytes]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in record.items()}


def _idempotency_key(owner: str, key: str) -> str:
    # Of fixed length, whatever a client sends.
    return keys.IDEMPOTENCY + hashlib.sha256(f"{owner}\0{key}".encode()).hexdigest()


def _cursor(job: Job) -> str:
    at = round(job.created.timestamp() * 1000)
    return base64.urlsafe_b64encode(f"{at} {job.id}".encode()).decode().rstrip("=")


def _parse_cursor(cursor: str) -> tuple[float, str]:
    padded = cursor + "=" * (-len(cursor) % 4)
    at, _, id = base64.urlsafe_b64decode(padded.encode()).decode().partition(" ")  # noqa: A001
    return float(int(at)), id
