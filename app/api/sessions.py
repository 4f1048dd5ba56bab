"""Signed-in pages: a key is exchanged for a cookie, so that no script ever holds the key.

The cookie is an opaque id of 256 random bits. Redis knows its SHA-256 and the key's id, and forgets both in time; a
revoked key ends its sessions at once, since every request looks the key up anew.
"""

from __future__ import annotations

import secrets
from typing import Final

from redis.asyncio import Redis

from app.api.keys import digest

COOKIE: Final = "chetko_session"
_SESSION: Final = "{chetko}:session:"
"""+ SHA-256 of the cookie in hex -> id of the key; expires."""


class SessionStore:
    """All sessions, in Redis; every call is one round trip and raises ``redis.RedisError`` when it fails."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def open(self, key_id: str, seconds: int) -> str:
        """A new session of this key; gives the cookie's value."""
        cookie = secrets.token_urlsafe(32)
        await self._redis.set(_SESSION + digest(cookie), key_id, ex=seconds)
        return cookie

    async def key_id(self, cookie: str) -> str | None:
        """The id of the key that opened this session, if it is still open."""
        found = await self._redis.get(_SESSION + digest(cookie))
        return found.decode() if isinstance(found, bytes) else found

    async def close(self, cookie: str) -> None:
        """Ends a session; one that is not there is fine."""
        await self._redis.delete(_SESSION + digest(cookie))
