"""Keys, sessions and what a key may use, in a real Valkey."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis
from redis.asyncio import Redis

from app.api.keys import KeyLimits, KeyStore, looks_like_key
from app.api.problems import RateLimitedProblem
from app.api.rate_limits import RateLimits, Window, policy_header, state_header
from app.api.sessions import SessionStore

T = TypeVar("T")


def run(queue: Path, work: Callable[[Redis], Awaitable[T]]) -> T:
    async def main() -> T:
        async with Redis(unix_socket_path=str(queue)) as client:
            return await work(client)

    return asyncio.run(main())


def everything(queue: Path) -> str:
    """All that the server holds, as text."""
    with redis.Redis(unix_socket_path=str(queue), decode_responses=True) as client:
        found: list[Any] = []
        for key in client.scan_iter():
            kind = client.type(key)
            value = {"hash": client.hgetall, "string": client.get}.get(str(kind), client.dump)(key)
            found += [key, value]
        return repr(found)


def test_a_key_is_found_by_its_text_only_and_never_stored(queue: Path) -> None:
    async def work(client: Redis) -> str:
        store = KeyStore(client)
        assert not await store.any()
        key, text = await store.create("shop", ["write", "read"], KeyLimits(storage_mb=5))
        assert looks_like_key(text)
        assert await store.find(text) == key
        assert await store.find(text[:-1] + ("A" if text[-1] != "A" else "B")) is None
        assert await store.find(key.id) is None
        assert await store.by_id(key.id) == key
        assert (key.scopes, key.limits.storage_mb) == (("read", "write"), 5)
        assert await store.any()
        return text

    text = run(queue, work)
    assert text[3:] not in everything(queue)


def test_a_revoked_key_is_gone_with_its_sessions(queue: Path) -> None:
    async def work(client: Redis) -> None:
        store, sessions = KeyStore(client), SessionStore(client)
        key, text = await store.create("shop")
        other, _ = await store.create("archive")
        cookie = await sessions.open(key.id, 60)
        assert await sessions.key_id(cookie) == key.id
        assert await store.revoke(key.id)
        assert await store.find(text) is None
        assert await store.by_id(await sessions.key_id(cookie) or "") is None
        assert [each.name for each in await store.list()] == ["archive"]
        assert not await store.revoke(key.id)
        assert await store.by_id(other.id) == other

    run(queue, work)


def test_sessions_end(queue: Path) -> None:
    async def work(client: Redis) -> str:
        sessions = SessionStore(client)
        cookie = await sessions.open("key_1", 60)
        closed = await sessions.open("key_1", 60)
        await sessions.close(closed)
        assert await sessions.key_id(closed) is None
        assert 0 < await client.ttl((await client.keys("*session*"))[0]) <= 60
        return cookie

    cookie = run(queue, work)
    assert cookie not in everything(queue)


def test_a_key_made_elsewhere_is_taken_in_once(queue: Path) -> None:
    text = "ck_" + "a" * 43

    async def work(client: Redis) -> None:
        store = KeyStore(client)
        first = await store.take_in(text, "bootstrap")
        assert await store.take_in(text, "bootstrap") == first
        assert len(await store.list()) == 1
        with pytest.raises(ValueError, match="not a key"):
            await store.take_in("secret", "bootstrap")

    run(queue, work)


def test_what_is_counted_is_refused_beyond_the_limit(queue: Path) -> None:
    async def work(client: Redis) -> None:
        limits = RateLimits(client)
        for left in (2, 1, 0):
            counted, window = await limits.count("requests", "key_1", 3, 1)
            assert (counted, window.remaining) == (True, left)
        counted, window = await limits.count("requests", "key_1", 3, 1)
        assert not counted
        assert 0 < window.reset_seconds <= 60
        counted, _ = await limits.count("requests", "key_2", 3, 1)
        assert counted
        counted, window = await limits.count("megapixels", "key_1", 100, 70)
        assert (counted, window.remaining) == (True, 30)
        counted, window = await limits.count("megapixels", "key_1", 100, 31)
        assert (counted, window.remaining) == (False, 30)

    run(queue, work)


def test_pictures_at_once_are_bounded_and_given_back(queue: Path) -> None:
    async def work(client: Redis) -> None:
        limits = RateLimits(client)
        async with limits.picture("key_1", 2):
            async with limits.picture("key_1", 2), limits.picture("key_2", 1):
                with pytest.raises(RateLimitedProblem) as refused:
                    async with limits.picture("key_1", 2):
                        pass
                assert (refused.value.code, refused.value.limit) == ("quota_exceeded", 2)
            async with limits.picture("key_1", 2):
                pass
        assert await client.keys("*leases*") == []

    run(queue, work)


def test_headers_are_those_of_the_draft() -> None:
    windows = [Window("requests", 60, 59, 12), Window("megapixels", 100, 0, 60)]
    assert policy_header(windows) == '"requests";q=60;w=60, "megapixels";q=100;w=60'
    assert state_header(windows) == '"requests";r=59;t=12, "megapixels";r=0;t=60'
