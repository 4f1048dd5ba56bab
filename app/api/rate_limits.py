"""How much one key may ask for: requests and megapixels per minute, pictures at once.

Windows are those of the library ``limits`` in Redis, so that all server processes count together.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.api.problems import RateLimitedProblem

WINDOW_SECONDS: Final = 60
LEASE_SECONDS: Final = 900
"""After this long a picture no longer counts as being worked on: its process was killed."""

_PREFIX: Final = "{chetko}:rate"
_LEASES: Final = "{chetko}:leases:"
"""+ id of the key: sorted set of pictures being worked on, each with the time at which it stops counting."""

_TAKE: Final = """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[4])
redis.call('EXPIRE', KEYS[1], ARGV[5])
return 1
"""


@dataclass(frozen=True, slots=True)
class Window:
    """What is left of one limit."""

    name: str
    """``requests`` or ``megapixels``."""
    limit: int
    """In a minute."""
    remaining: int
    reset_seconds: int
    """Until more is left."""


class RateLimits:
    """Counts per key. Every call raises ``redis.RedisError`` when Redis does not answer."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._limiter = SlidingWindowCounterRateLimiter(
            RedisStorage(
                "async+redis://",
                implementation="redispy",
                key_prefix=_PREFIX,
                connection_pool=redis.connection_pool,  # type: ignore[arg-type] # handed on to redis.asyncio.Redis
            )
        )
        self._take = redis.register_script(_TAKE)

    async def count(self, name: str, key_id: str, limit: int, cost: int) -> tuple[bool, Window]:
        """Counts ``cost``, unless more than ``limit`` in a minute would be used; whether it was counted, and what is
        left. Two round trips.
        """
        item: RateLimitItem = RateLimitItemPerMinute(limit)
        counted = await self._limiter.hit(item, name, key_id, cost=cost)
        reset, remaining = await self._limiter.get_window_stats(item, name, key_id)
        return counted, Window(name, limit, max(0, remaining), max(0, math.ceil(reset - time.time())))

    @asynccontextmanager
    async def picture(self, key_id: str, limit: int) -> AsyncIterator[None]:
        """Holds one of the key's pictures at once; raises RateLimitedProblem ``quota_exceeded`` when all are held."""
        lease = secrets.token_hex(12)
        now = time.time()
        taken = await self._take(
            keys=[_LEASES + key_id], args=[now, limit, now + LEASE_SECONDS, lease, LEASE_SECONDS + 60]
        )
        if not taken:
            raise RateLimitedProblem(
                f"{limit} pictures of this key are already being worked on. Wait for one of them.",
                code="quota_exceeded",
                limit=limit,
                retry_after=2,
            )
        try:
            yield
        finally:
            with suppress(RedisError):  # the lease ends by itself then
                await self._redis.zrem(_LEASES + key_id, lease)


def policy_header(windows: list[Window]) -> str:
    """``RateLimit-Policy`` as in draft-ietf-httpapi-ratelimit-headers."""
    return ", ".join(f'"{window.name}";q={window.limit};w={WINDOW_SECONDS}' for window in windows)


def state_header(windows: list[Window]) -> str:
    """``RateLimit`` as in draft-ietf-httpapi-ratelimit-headers."""
    return ", ".join(f'"{window.name}";r={window.remaining};t={window.reset_seconds}' for window in windows)
