"""The connection to Redis, of the same kind in every process."""

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


@asynccontextmanager
async def queue_errors() -> AsyncIterator[None]:
    """Turns what Redis and its connection raise into QueueUnavailableError."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise QueueUnavailableError(
            "The queue does not answer, so nothing can be queued or looked up now. Try again in a few seconds."
        ) from error
