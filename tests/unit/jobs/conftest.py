"""A queue server for the session, emptied before each test, and workers in the test's own loop."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import redis as redis_sync
from PIL import Image
from redis.asyncio import Redis

from app.imaging.header import read_header
from app.inference.backend import Backend
from app.inference.engine import Engine
from app.inference.enlarge import enlarge
from app.inference.options import Options
from app.jobs import Jobs, NewJob, new_id, open_redis, speed_name
from app.jobs.worker import Worker
from app.settings import Settings
from app.storage import Storage, open_storage
from tests.queue_server import queue_url


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    with queue_url() as url:
        yield url


@pytest.fixture
def redis_url(redis_server: str) -> str:
    with redis_sync.Redis.from_url(redis_server) as client:
        client.flushdb()
    return redis_server


@pytest.fixture
def storage(storage_url: str) -> Storage:
    """A folder, or with CHETKO_TEST_STORAGE=s3 a place of this test's own in a bucket."""
    return open_storage(storage_url)


@dataclass
class Bench:
    """What a test needs to submit work and have it done."""

    redis: Redis
    redis_url: str
    storage: Storage
    settings: Settings
    engine: Engine
    jobs: Jobs

    @property
    def backend(self) -> Backend:
        return Backend(self.engine.registry, self.engine, enlarge)

    @asynccontextmanager
    async def working(self, **given: Any) -> AsyncIterator[Worker]:
        """A worker while the block runs."""
        settings = self.settings.model_copy(update=given)
        worker = Worker(
            settings, self.storage, open_redis(self.redis_url), Backend(self.engine.registry, self.engine, enlarge)
        )
        running = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            worker.stop()
            worker.stop()
            await running

    async def new(self, picture: bytes | None = None, name: str = "photo.png", **given: Any) -> NewJob:
        """A staged job of one picture; ``options`` and all else of NewJob may be given."""
        id = given.pop("id", None) or new_id()  # noqa: A001
        options = Options.from_json({"scale": 2, "format": "png"} | given.pop("options", {}))
        pictures = given.pop("pictures", None) or [picture or png()]
        model = given.pop("model", "nearest")
        version = self.engine.registry.find(model, 2).manifest.version
        sources = []
        for number, each in enumerate(pictures):
            header = read_header(io.BytesIO(each))
            work = round(header.width * header.height * options.scale**2)
            sources.append(await self.jobs.stage(id, number, io.BytesIO(each), name=name, work=work))
        asked = {key: value for key, value in options.to_json().items() if key not in ("model", "tile")}
        speed = speed_name(model, [int(options.scale)], version)
        return NewJob(id, tuple(sources), asked, model, version, speed, **given)

    def files(self, id: str) -> list[str]:  # noqa: A002
        """What lies in storage of a job."""
        return sorted(key for key, _ in self.storage.list(f"jobs/{id}"))


def png(width: int = 48, height: int = 40, seed: int = 1, mode: str = "RGB") -> bytes:
    """Noise."""
    shape = (height, width, 4 if mode == "RGBA" else 3)
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8)).save(file, "PNG")
    return file.getvalue()


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 30.0) -> None:
    """Returns as soon as ``condition`` holds; fails when it does not in time."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - the condition is another process's
            await asyncio.sleep(0.02)


@pytest.fixture
def bench(redis_url: str, storage: Storage, engine: Engine) -> Callable[..., Any]:
    """Makes a Bench inside a test's loop: ``async with bench() as b``."""

    @asynccontextmanager
    async def make(*, connect: bool = True, **given: Any) -> AsyncIterator[Bench]:
        settings = Settings(**given)
        redis = open_redis(redis_url)
        jobs = Jobs(redis, storage, settings)
        if connect:
            await jobs.connect()
        try:
            yield Bench(redis, redis_url, storage, settings, engine, jobs)
        finally:
            await jobs.close()
            await redis.aclose()  # type: ignore[attr-defined]

    return make
