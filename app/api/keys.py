"""API keys: made, found, listed and revoked. Redis holds the SHA-256 of each, never the key itself.

A key is ``ck_`` and 256 random bits, so that its plain SHA-256 cannot be guessed back and needs no salt.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from redis.asyncio import Redis

SCOPES: Final = ("read", "write", "evaluate")
"""``read``: models, own jobs and their results. ``write``: sending pictures, making, sharing and removing jobs and
uploads. ``evaluate``: ``POST /v1/evaluations``, which costs as much as many pictures.
"""

PREFIX: Final = "ck_"
_KEY = re.compile(r"ck_[A-Za-z0-9_-]{43}")

_BY_DIGEST: Final = "{chetko}:keys"
"""Hash: SHA-256 of the key in hex -> the ``Key`` as JSON."""
_DIGEST_OF: Final = "{chetko}:key-ids"
"""Hash: id of the key -> SHA-256 of the key in hex."""


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """What one key may use; None takes the setting ``CHETKO_KEY_...`` of the same name."""

    requests_per_minute: int | None = None
    megapixels_per_minute: int | None = None
    """Output megapixels."""
    max_concurrent: int | None = None
    """Pictures worked on at once."""
    storage_mb: int | None = None
    """MiB."""
    max_jobs: int | None = None
    """Unfinished ones."""


@dataclass(frozen=True, slots=True)
class Key:
    """What is known of a key; nothing here opens anything."""

    id: str
    """``key_`` and 72 random bits; owner of what the key makes."""
    name: str
    scopes: tuple[str, ...]
    created: str
    """ISO 8601, UTC."""
    limits: KeyLimits = field(default_factory=KeyLimits)


class KeyStore:
    """All keys, in Redis. Every call is one or two round trips and raises ``redis.RedisError`` when it fails."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis  # whose commands are typed as if they might not be awaited

    async def create(
        self, name: str, scopes: Iterable[str] = SCOPES, limits: KeyLimits | None = None
    ) -> tuple[Key, str]:
        """A new key, and its text, which exists nowhere else: show it once."""
        text = PREFIX + secrets.token_urlsafe(32)
        return await self._add(text, name, scopes, limits or KeyLimits()), text

    async def take_in(self, text: str, name: str) -> Key:
        """Makes a key that was generated elsewhere valid, with every scope; one that is known stays as it is.

        Raises ValueError for what does not look like a key.
        """
        if not looks_like_key(text):
            raise ValueError("is not a key: ck_ and 43 letters, digits, - or _")
        return await self.find(text) or await self._add(text, name, SCOPES, KeyLimits())

    async def find(self, text: str) -> Key | None:
        """The key with this text, if it is valid now.

        Looked up by its digest: how long that takes tells nothing of the keys that there are.
        """
        if not looks_like_key(text):
            return None
        given = digest(text)
        found = await self._redis.hget(_BY_DIGEST, given)
        if found is None:
            return None
        stored = json.loads(found)
        return _key(stored) if hmac.compare_digest(stored["digest"], given) else None

    async def by_id(self, key_id: str) -> Key | None:
        """The key with this id, if it is valid now."""
        known = await self._redis.hget(_DIGEST_OF, key_id)
        found = None if known is None else await self._redis.hget(_BY_DIGEST, _text(known))
        return None if found is None else _key(json.loads(found))

    async def list(self) -> list[Key]:
        """All valid keys, the oldest first."""
        found = await self._redis.hvals(_BY_DIGEST)
        return sorted((_key(json.loads(each)) for each in found), key=lambda key: (key.created, key.id))

    async def revoke(self, key_id: str) -> bool:
        """Makes a key invalid at once, with the sessions opened by it; False when there is none with this id."""
        known = await self._redis.hget(_DIGEST_OF, key_id)
        if known is None:
            return False
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hdel(_BY_DIGEST, _text(known))
            pipe.hdel(_DIGEST_OF, key_id)
            await pipe.execute()
        return True

    async def any(self) -> bool:
        """Whether there is a valid key."""
        return bool(await self._redis.hlen(_BY_DIGEST))

    async def _add(self, text: str, name: str, scopes: Iterable[str], limits: KeyLimits) -> Key:
        known = tuple(scope for scope in SCOPES if scope in set(scopes))
        created = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        key = Key("key_" + secrets.token_urlsafe(9), name, known, created, limits)
        entry = json.dumps({**asdict(key), "digest": digest(text)})
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(_BY_DIGEST, digest(text), entry)
            pipe.hset(_DIGEST_OF, key.id, digest(text))
            await pipe.execute()
        return key


def looks_like_key(text: str) -> bool:
    """Whether this is ``ck_`` and 256 bits in the letters of base64url."""
    return _KEY.fullmatch(text) is not None


def digest(text: str) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def _key(stored: dict[str, Any]) -> Key:
    return Key(
        id=stored["id"],
        name=stored["name"],
        scopes=tuple(stored["scopes"]),
        created=stored["created"],
        limits=KeyLimits(**stored["limits"]),
    )


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
