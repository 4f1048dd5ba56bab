"""Places for large files: a record in Redis, the bytes in storage, both gone after a while.

A place is announced with its size, filled once (or again, while no job uses it), and taken by the job that reads it.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from redis.asyncio import Redis

from app.jobs.keys import STORED, UPLOADED
from app.storage import MissingObjectError, Storage

_UPLOAD: Final = "{chetko}:upload:"
"""+ id: the ``UploadPlace`` as JSON; expires an hour after its bytes, so that the sweep still finds it."""
_EXPIRY: Final = "{chetko}:uploads"
"""Sorted set: id -> Unix time at which the bytes go."""

PREFIX: Final = "up_"
"""Begins the id of every upload."""
_GRACE_SECONDS: Final = 3600
_CHUNK_BYTES: Final = 1024 * 1024

_RESERVE: Final = """
local used, now = 0, tonumber(ARGV[1])
local entries = redis.call('HGETALL', KEYS[1])
for i = 1, #entries, 2 do
  local bytes, expiry = string.match(entries[i + 1], '(%d+):(%d+)')
  if tonumber(expiry) <= now then redis.call('HDEL', KEYS[1], entries[i])
  elseif entries[i] ~= ARGV[2] then used = used + tonumber(bytes) end
end
used = used + tonumber(redis.call('GET', KEYS[2]) or '0')
if ARGV[5] ~= '' and used + tonumber(ARGV[3]) > tonumber(ARGV[5]) then return used end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3] .. ':' .. ARGV[4])
return -1
"""


@dataclass(frozen=True, slots=True)
class UploadPlace:
    """One place and what is in it."""

    id: str
    """``up_`` and 144 random bits."""
    owner: str
    name: str
    """The file's name as the client gave it: may hold a path or anything else."""
    bytes: int
    """Announced, and guaranteed once ``sha256`` is there."""
    media_type: str | None
    expires: float
    """Unix time."""
    sha256: str | None = None
    """Hex, of the bytes that lie in storage; None until they are there."""
    taken: bool = False
    """A job uses it: its bytes do not change any more."""
    shared: bool = False
    """There is a link to it: its bytes do not change any more, and whoever has the link sees them."""

    @property
    def key(self) -> str:
        """Where its bytes lie in storage."""
        return f"uploads/{self.id}"


class UploadStore:
    """All places. Calls raise ``redis.RedisError``; those that touch bytes are marked as blocking or take a thread."""

    def __init__(self, redis: Redis, storage: Storage, *, seconds: float) -> None:
        """``seconds``: for which a place that no job uses is kept."""
        self._redis: Any = redis  # whose commands are typed as if they might not be awaited
        self.storage = storage
        self.seconds = seconds
        self._reserve = redis.register_script(_RESERVE)

    async def reserve(self, owner: str, item: str, size: int, expires: float, limit: int | None) -> bool:
        """Counts ``size`` bytes of the upload ``item`` against the owner's ``limit`` until ``expires`` (Unix time),
        again with the same id: in the place of what was counted. False, and nothing is counted, when the owner would
        have more than ``limit`` bytes together with what its jobs store; None is no limit.
        """
        used = await self._reserve(
            keys=[UPLOADED + owner, STORED + owner],
            args=[int(time.time()), item, size, int(expires), "" if limit is None else limit],
        )
        return int(used) < 0

    async def open(
        self, owner: str, name: str, size: int, media_type: str | None, limit: int | None
    ) -> UploadPlace | None:
        """A new, empty place; None when the owner has no room for it."""
        place = UploadPlace(
            PREFIX + secrets.token_urlsafe(18), owner, name, size, media_type, time.time() + self.seconds
        )
        if not await self.reserve(owner, place.id, size, place.expires, limit):
            return None
        await self._save(place)
        return place

    async def find(self, upload_id: str, owner: str) -> UploadPlace | None:
        """The owner's place with this id; None for others', expired and unknown ones alike."""
        found = await self._redis.get(_UPLOAD + upload_id)
        if found is None:
            return None
        place = UploadPlace(**json.loads(found))
        return place if place.owner == owner and place.expires > time.time() else None

    async def shared(self, upload_id: str) -> UploadPlace | None:
        """Anybody's place to which a link was made; None for others, expired and unknown ones alike."""
        found = await self._redis.get(_UPLOAD + upload_id)
        place = None if found is None else UploadPlace(**json.loads(found))
        return place if place is not None and place.shared and place.expires > time.time() else None

    async def filled(self, place: UploadPlace, sha256: str) -> UploadPlace:
        """Notes that the place's bytes are there."""
        place = replace(place, sha256=sha256)
        await self._save(place)
        return place

    async def take(self, place: UploadPlace, until: float) -> UploadPlace:
        """Notes that a job uses the place, which is then kept until then (Unix time) at least."""
        place = replace(place, taken=True, expires=max(place.expires, until))
        await self.reserve(place.owner, place.id, place.bytes, place.expires, None)
        await self._save(place)
        return place

    async def share(self, place: UploadPlace) -> None:
        """Notes that there is a link to the place."""
        await self._save(replace(place, shared=True))

    async def remove(self, place: UploadPlace, in_thread: Callable[..., Any]) -> None:
        """Removes a place with its bytes. ``in_thread(function, argument)`` awaits a blocking call in a thread."""
        await in_thread(self.storage.delete, place.key)
        await self._forget(place.id, place.owner)

    async def sweep(self, in_thread: Callable[..., Any]) -> int:
        """Removes what has expired, and gives how many places that were; any number of processes may do it at once."""
        expired = await self._redis.zrangebyscore(_EXPIRY, "-inf", time.time(), start=0, num=100)
        for raw in expired:
            upload_id = raw.decode() if isinstance(raw, bytes) else raw
            found = await self._redis.get(_UPLOAD + upload_id)
            await in_thread(self.storage.delete, f"uploads/{upload_id}")
            await self._forget(upload_id, json.loads(found)["owner"] if found else None)
        return len(expired)

    def measure(self, place: UploadPlace) -> tuple[int, str] | None:
        """Size and SHA-256 of bytes that came past us, straight into the bucket; None while there are none. Blocks."""
        try:
            size = self.storage.stat(place.key).size
            if size != place.bytes:
                return size, ""
            sum_ = hashlib.sha256()
            with self.storage.open(place.key) as file:
                while piece := file.read(_CHUNK_BYTES):
                    sum_.update(piece)
        except MissingObjectError:
            return None
        return size, sum_.hexdigest()

    async def _save(self, place: UploadPlace) -> None:
        async with self._redis.pipeline(transaction=True) as pipe:
            seconds = max(1, int(place.expires - time.time())) + _GRACE_SECONDS
            pipe.set(_UPLOAD + place.id, json.dumps(asdict(place)), ex=seconds)
            pipe.zadd(_EXPIRY, {place.id: place.expires})
            await pipe.execute()

    async def _forget(self, upload_id: str, owner: str | None) -> None:
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(_UPLOAD + upload_id)
            pipe.zrem(_EXPIRY, upload_id)
            if owner is not None:
                pipe.hdel(UPLOADED + owner, upload_id)
            await pipe.execute()
