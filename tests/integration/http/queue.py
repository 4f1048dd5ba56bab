"""A live server with a queue, a store and workers, all in this process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import redis as redis_sync

from app.inference.backend import Backend
from app.jobs import open_redis
from app.jobs.worker import Worker
from app.settings import Settings
from app.storage import Storage
from tests.integration.http.live import Computing, Live, live


@dataclass
class Queued:
    """A server and what stands behind it."""

    live: Live
    storage: Storage
    redis_url: str
    settings: Settings
    backend: Backend

    @property
    def url(self) -> str:
        return self.live.url

    @contextmanager
    def working(self) -> Iterator[Worker]:
        """A worker in a thread while the block runs."""
        made: list[Worker] = []
        loops: list[asyncio.AbstractEventLoop] = []
        begun = threading.Event()

        async def run() -> None:
            worker = Worker(self.settings, self.storage, open_redis(self.redis_url), self.backend)
            made.append(worker)
            loops.append(asyncio.get_running_loop())
            begun.set()
            await worker.run()

        thread = threading.Thread(target=lambda: asyncio.run(run()))
        thread.start()
        assert begun.wait(20)
        try:
            yield made[0]
        finally:
            # Twice, and at once: after the first the loop may be gone.
            loops[0].call_soon_threadsafe(lambda: [made[0].stop() for _ in range(2)])
            thread.join(30)
            assert not thread.is_alive(), "the worker did not stop"


@contextmanager
def queued(redis_url: str, storage: Storage, backend: Backend, **given: Any) -> Iterator[Queued]:
    """A server that computes with ``backend``, on an emptied queue."""
    with redis_sync.Redis.from_url(redis_url) as client:
        client.flushdb()
    with live(Computing(), load=lambda _: backend, queue=redis_url, store=storage, **given) as one:
        one.wait_until(lambda: one.service.state == "ready")
        yield Queued(one, storage, redis_url, one.service.settings, backend)
