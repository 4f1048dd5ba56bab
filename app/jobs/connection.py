"""The connections to Redis and to the store, of the same kind in every process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import BusyLoadingError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from app.jobs.errors import QueueUnavailableError
from app.settings import Settings
from app.storage import Storage, open_storage

# Together about a second: the embedded server is back within that after a crash. Everything sent may be sent twice.
_RETRIES = 8
_MOST_SECONDS_BETWEEN = 0.2


def open_redis(url: str) -> Redis:
    """A pool of connections to ``redis://``, ``rediss://`` or ``unix://``; connects on first use."""
    redis: Redis = Redis.from_url(
        url,
        retry=Retry(ExponentialBackoff(cap=_MOST_SECONDS_BETWEEN, base=0.01), _RETRIES),
        retry_on_error=[RedisConnectionError, RedisTimeoutError, BusyLoadingError, OSError],
        socket_timeout=5,
        socket_connect_timeout=2,
    )
    return redis


def storage_of(settings: Settings) -> Storage:
    """The store of these settings; raises StorageError where its folder cannot be made."""
    return open_storage(
        settings.storage_url or (settings.data_dir / "objects").as_uri(),
        min_free_bytes=settings.storage_min_free_mb * 1_000_000,
    )


@asynccontextmanager
async def queue_errors() -> AsyncIterator[None]:
    """Turns what Redis and its connection raise into QueueUnavailableError."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise QueueUnavailableError(
            "The queue does not answer, so nothing can be queued or looked up now. Try again in a few seconds."
        ) from error
