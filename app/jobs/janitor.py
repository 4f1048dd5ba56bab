"""Keeps order among the jobs, in the API processes: one of them at a time, whoever holds the lease.

Workers may be scaled to zero; expiry and deletion go on without them.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Iterator

from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.jobs import keys, places
from app.jobs.scripts import Scripts
from app.jobs.tasks import parse_task
from app.storage import Storage, StorageError
from app.telemetry import metrics

_log = logging.getLogger("chetko.jobs")

EVERY_SECONDS = 1.0
LEASE_SECONDS = 4.0
DEAD_AFTER_SECONDS = 5.0
"""Without a heartbeat (there are two a second) for so long a worker counts as dead. Together with one round of the
janitor its tasks are free well within 10 s; a worker that was only slow costs nothing but a task computed twice."""
_SUSPECT_SECONDS = 5.0
_MEND_EVERY_SECONDS = 2.0
_SWEEP_EVERY_SECONDS = 3600.0
_ORPHAN_SECONDS = 3600.0
"""Objects without a job are left alone for so long: they may be a job's that is just being submitted."""
_BATCH = 200


class Janitor:
    """One process's candidate for the lease."""

    def __init__(self, redis: Redis, run: Scripts, storage: Storage) -> None:
        self._redis = redis
        self._run = run
        self._storage = storage
        self._token = secrets.token_hex(8)
        self._watching_since: float | None = None
        """Since when this process has held the lease and reached Redis without a break. After an outage all
        heartbeats are old, and nobody is dead."""
        self._mended = self._swept = float("-inf")

    async def keep_order(self) -> None:
        """Runs until it is cancelled."""
        while True:
            try:
                await self.round()
            except (RedisError, OSError):
                self._watching_since = None
            except Exception:
                _log.exception("The janitor failed in a round; it goes on with the next")
            await asyncio.sleep(EVERY_SECONDS)

    async def give_up(self) -> None:
        """Lets another process take the lease at once."""
        await self._run("release", keys.LEASE, self._token)

    async def round(self) -> None:
        """Everything once, if this process holds the lease."""
        if not await self._run("hold", self._token, int(LEASE_SECONDS * 1000)):
            self._watching_since = None
            return
        now = time.monotonic()
        if self._watching_since is None:
            self._watching_since = now
        if now - self._watching_since >= DEAD_AFTER_SECONDS:
            await self._bury()
        await self._run("tidy", _BATCH)
        if now - self._mended >= _MEND_EVERY_SECONDS:
            self._mended = now
            await self._mend()
        for id in await self._run("expire", _BATCH):  # noqa: A001
            _log.info("%s expired", id)
        await self.dig()
        if now - self._swept >= _SWEEP_EVERY_SECONDS:
            self._swept = now
            await self.recount()
            await self.sweep()

    async def _bury(self) -> None:
        for worker, task, deaths in await self._run("bury", int(DEAD_AFTER_SECONDS * 1000)):
            metrics.TASKS.labels(parse_task(task).kind, "lost").inc()
            if deaths:
                _log.warning("worker %s died; %s is queued again (its death number %d)", worker, task, deaths)
            else:
                _log.warning("worker %s died with %s, which nobody wants any more", worker, task)

    async def _mend(self) -> None:
        async for id, _ in self._redis.zscan_iter(keys.ACTIVE, count=_BATCH):  # noqa: A001
            name = id.decode()
            repaired = await self._run("mend", int(_SUSPECT_SECONDS * 1000), name)
            if repaired:
                _log.warning("%s: %d lost tasks were queued again", name, repaired)

    async def dig(self) -> None:
        """Deletes the folders of jobs that nobody needs; waits for workers that are still writing there."""
        now_seconds, _ = await self._redis.time()
        due: list[bytes] = await self._redis.zrangebyscore(
            keys.GRAVES, "-inf", now_seconds * 1000 + 999, start=0, num=_BATCH
        )
        if not due:
            return
        running: list[bytes] = await self._redis.hkeys(keys.RUNNING)  # type: ignore[misc]
        busy = {task.decode().partition(".")[0] for task in running}
        for grave in due:
            home = grave.decode()
            if home in busy or await self._redis.scard(keys.HOME + home):  # type: ignore[misc]
                continue
            try:
                await asyncio.to_thread(self._storage.delete_prefix, places.folder(home))
            except StorageError as error:
                _log.warning("%s cannot be deleted now: %s", home, error.message)
                return
            await self._redis.zrem(keys.GRAVES, home)

    async def recount(self) -> None:
        """Counts anew what every owner stores; it is right already unless somebody else changed the queue server."""
        async for key in self._redis.scan_iter(keys.OWNER + "?*", count=_BATCH):
            owner = key.decode().removeprefix(keys.OWNER)
            wrong = await self._run("recount", owner)
            if wrong:
                _log.warning("What the jobs of %s store was counted wrong by %d bytes; mended", owner, wrong)

    async def sweep(self) -> int:
        """Deletes folders without a job, which a crash between storing and submitting leaves, and what died writers
        left. Gives the number of folders."""
        try:
            await asyncio.to_thread(self._storage.sweep)
            found = await asyncio.to_thread(lambda: dict(self._homes()))
        except StorageError as error:
            _log.warning("Orphans cannot be looked for now: %s", error.message)
            return 0
        orphans = 0
        for home, newest in found.items():
            if time.time() - newest < _ORPHAN_SECONDS:
                continue
            if not await self._redis.exists(keys.JOB + home, keys.HOME + home):
                await self._redis.zadd(keys.GRAVES, {home: 1})
                orphans += 1
        if orphans:
            _log.info("%d folders without a job are deleted", orphans)
        return orphans

    def _homes(self) -> Iterator[tuple[str, float]]:
        """Each folder of a job with the time of its newest object (the last one told counts)."""
        newest: dict[str, float] = {}
        for key, stat in self._storage.list(places.ROOT):
            home = key.split("/")[1]
            newest[home] = max(newest.get(home, 0.0), stat.modified.timestamp())
        yield from newest.items()
