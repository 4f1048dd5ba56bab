"""Tells callers' servers that their jobs have ended: signed, with patience, at least once.

Signed as https://www.standardwebhooks.com wants it, so that receivers can use a library they have. What is due lies in
Redis until it is delivered or given up; any number of processes may deliver, each event is one's at a time.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.jobs import keys
from app.jobs.call import call
from app.jobs.egress import AddressNotAllowedError, EgressError, Gate
from app.jobs.ending import ended

_log = logging.getLogger("chetko.jobs")

DELAYS = (5, 30, 300, 1800, 7200, 18_000, 36_000)
"""Seconds from each failed attempt to the next, give or take a tenth; 17.5 hours in all, then it is given up."""
ATTEMPT_SECONDS = 15.0
"""An attempt that takes longer has failed."""
_CLAIM_SECONDS = 60
"""A process that has begun an attempt and died is waited for so long; well above ATTEMPT_SECONDS."""
_KEEP_SECONDS = 3 * 24 * 3600
"""An event is remembered for so long, delivered or not: scheduled again meanwhile, it is not sent again."""
_AT_ONCE = 32
_EVERY_SECONDS = 1.0
_GONE = 410

# Both use the server's clock, as everything about jobs does. KEYS: the set of what is due.
_CLAIM = """
local now = tonumber(redis.call('TIME')[1])
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
for _, id in ipairs(due) do redis.call('ZADD', KEYS[1], now + ARGV[2], id) end
return due
"""
_PUT_OFF = """
redis.call('ZADD', KEYS[1], 'XX', tonumber(redis.call('TIME')[1]) + ARGV[1], ARGV[2])
"""


@dataclass(frozen=True, slots=True)
class Event:
    """What is told, to one address."""

    id: str
    """The same at every attempt, and for whoever schedules it twice: receivers drop what they have seen."""
    url: str
    type: str
    """Such as ``job.succeeded``."""
    at: float
    """When it happened, in seconds since 1970."""
    data: Mapping[str, Any]
    """The job document."""

    def body(self) -> bytes:
        """The JSON that is sent."""
        moment = datetime.fromtimestamp(self.at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        document = {"type": self.type, "timestamp": moment, "data": self.data}
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


Describe = Callable[[str, str], Awaitable[tuple[str, Mapping[str, Any]] | None]]
"""Job and event of an entry of the outbox to the address that wants it and the job document; None if nobody does."""


def signed(secret: str, id: str, at: int, body: bytes) -> dict[str, str]:  # noqa: A002 - the standard's word
    """The headers that prove who sent ``body``. ``secret`` is ``whsec_`` and base64, ``at`` seconds since 1970."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.digest(key, f"{id}.{at}.".encode() + body, hashlib.sha256)
    return {
        "webhook-id": id,
        "webhook-timestamp": str(at),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


class Webhooks:
    """The events that are due, and their delivery."""

    def __init__(self, redis: Redis, gate: Gate, secret: str, *, delays: Sequence[float] = DELAYS) -> None:
        self._redis = redis
        self._gate = gate
        self._secret = secret
        self._delays = delays
        self._claim = redis.register_script(_CLAIM)
        self._put_off = redis.register_script(_PUT_OFF)
        self._running: set[asyncio.Task[None]] = set()

    async def run(self, describe: Describe) -> None:
        """Collects and delivers until it is cancelled; attempts that run then are made again by somebody later."""
        try:
            while True:
                try:
                    await self.collect(describe)
                    await self._begin_due()
                except (RedisError, OSError):
                    pass  # the queue is away, and whoever needs it now says so
                except Exception:
                    _log.exception("Webhooks failed in a round; they go on with the next")
                await asyncio.sleep(_EVERY_SECONDS)
        finally:
            await ended(*self._running)

    async def collect(self, describe: Describe) -> int:
        """Schedules what lies in the outbox, and gives the number of entries. One that is met twice is sent once."""
        number = 0
        while (raw := await self._redis.lindex(keys.OUTBOX, 0)) is not None:  # type: ignore[misc]
            entry = json.loads(raw)
            if (found := await describe(entry["job"], entry["event"])) is not None:
                url, document = found
                kind = f"job.{entry['event']}"
                await self.schedule(Event(entry["id"], url, kind, float(entry["at"]) / 1000, document))
            await self._redis.lrem(keys.OUTBOX, 1, raw)  # type: ignore[misc]
            number += 1
        return number

    async def schedule(self, event: Event) -> None:
        """Makes the event due now. Does nothing if it was scheduled in the last three days."""
        name = keys.WEBHOOK + event.id
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hsetnx(name, "url", event.url)
            pipe.hsetnx(name, "body", event.body().decode())
            pipe.expire(name, _KEEP_SECONDS, nx=True)
            pipe.zadd(keys.WEBHOOKS, {event.id: 0}, nx=True)
            await pipe.execute()

    async def deliver_due(self) -> int:
        """One attempt for everything that is due, at most 32 of them, side by side. Gives their number."""
        number = await self._begin_due()
        await asyncio.gather(*self._running)
        return number

    async def _begin_due(self) -> int:
        room = _AT_ONCE - len(self._running)
        due: list[bytes | str] = await self._claim([keys.WEBHOOKS], [room, _CLAIM_SECONDS]) if room else []
        for id in due:  # noqa: A001
            task = asyncio.create_task(self._deliver(id.decode() if isinstance(id, bytes) else id))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return len(due)

    async def _deliver(self, id: str) -> None:  # noqa: A002
        """One attempt for an event that is claimed. Trouble with Redis leaves it claimed: it is due again soon."""
        with suppress(RedisError, OSError):
            name = keys.WEBHOOK + id
            url, body, done = await self._redis.hmget(name, ["url", "body", "done"])  # type: ignore[misc]
            if url is None or done is not None:
                await self._redis.zrem(keys.WEBHOOKS, id)
                return
            url = url.decode() if isinstance(url, bytes) else url
            body = body.encode() if isinstance(body, str) else body
            failure, final = await self._attempt(id, url, body)
            attempts = int(await self._redis.hincrby(name, "attempts", 1))  # type: ignore[misc]
            host = urlsplit(url).hostname  # the rest of an address may be a secret
            if failure is None:
                _log.info("webhook %s -> %s delivered (attempt %d)", id, host, attempts)
            elif final or attempts > len(self._delays):
                _log.warning("webhook %s -> %s given up after attempt %d: %s", id, host, attempts, failure)
            else:
                delay = self._delays[attempts - 1] * random.uniform(0.9, 1.1)  # noqa: S311 - spreads load
                await self._put_off([keys.WEBHOOKS], [delay, id])
                _log.info("webhook %s -> %s again in %.0f s: %s", id, host, delay, failure)
                return
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.hset(name, mapping={"done": "given up" if failure else "delivered", "body": "", "url": ""})
                pipe.zrem(keys.WEBHOOKS, id)
                await pipe.execute()

    async def _attempt(self, id: str, url: str, body: bytes) -> tuple[str | None, bool]:  # noqa: A002
        """Why it failed (None: it did not), and whether trying again is useless."""
        headers = {"Content-Type": "application/json", **signed(self._secret, id, int(time.time()), body)}
        try:
            async with call(self._gate, "POST", url, headers=headers, body=body, seconds=ATTEMPT_SECONDS) as answer:
                if 200 <= answer.status < 300:
                    return None, True
                return f"it answered {answer.status}", answer.status == _GONE
        except EgressError as error:
            return error.message, isinstance(error, AddressNotAllowedError)
