"""Who watches which job: one subscription for all watchers of a process."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.jobs.keys import CHANGES

_log = logging.getLogger("chetko.jobs")


class Changes:
    """Wakes whoever watches a job when it may have changed. A wake-up may come for nothing, and a change that happens
    while Redis is away is told when it is back: watchers read the job itself, and now and then unasked."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._watchers: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    @contextmanager
    def watch(self, id: str) -> Iterator[asyncio.Event]:  # noqa: A002 - the word of the interface
        """An event that is set when the job may have changed; the watcher clears it before it reads the job."""
        changed = asyncio.Event()
        self._watchers[id].add(changed)
        try:
            yield changed
        finally:
            self._watchers[id].discard(changed)
            if not self._watchers[id]:
                del self._watchers[id]

    async def listen(self) -> None:
        """Runs until it is cancelled."""
        while True:
            with suppress(RedisError, OSError):
                async with self._redis.pubsub(ignore_subscribe_messages=True) as subscription:
                    await subscription.subscribe(CHANGES)
                    for watchers in list(self._watchers.values()):  # what was missed meanwhile
                        _wake(watchers)
                    await self._receive(subscription)
            await asyncio.sleep(0.5)

    async def _receive(self, subscription: object) -> None:
        while True:
            message = await subscription.get_message(timeout=5.0)  # type: ignore[attr-defined]
            if message is not None:
                id, _, _ = message["data"].decode().partition(" ")  # noqa: A001
                _wake(self._watchers.get(id, set()))


def _wake(watchers: set[asyncio.Event]) -> None:
    for watcher in watchers:
        watcher.set()
