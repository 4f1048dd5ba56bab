"""What an owner's jobs store, and how many of them are not finished: counted in the transactions that change it."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from app.jobs import Idempotency, QuotaError, keys
from app.jobs.janitor import Janitor
from app.jobs.scripts import Scripts
from tests.unit.jobs.conftest import Bench, png
from tests.unit.jobs.test_transitions import RESULT, done, inside, prepared

OWNER = "key_ann"


async def stored(b: Bench, owner: str = OWNER) -> int:
    return int(await b.redis.get(keys.STORED + owner) or 0)


async def unfinished(b: Bench, owner: str = OWNER) -> int:
    return int(await b.redis.scard(keys.UNFINISHED + owner))


async def submitted(b: Bench, **given: Any) -> tuple[str, int]:
    """A new job's id and the bytes of its source."""
    new = await b.new(owner=OWNER, fresh=given.pop("fresh", True), **given)
    return (await b.jobs.submit(new)).id, sum(source.bytes for source in new.sources)


async def succeed(run: Scripts, id: str, size: int, **outcome: Any) -> None:  # noqa: A002
    assert await done(run, f"{id}.1.prepare.0.0", result=json.dumps(RESULT | {"bytes": size}), **outcome)


def test_sources_and_results_count_until_they_are_removed(bench: Callable[..., Any]) -> None:
    async def body(b: Bench, run: Scripts) -> None:
        first, source = await submitted(b)
        assert (await stored(b), await unfinished(b)) == (source, 1)
        await succeed(run, first, 5000)
        assert (await stored(b), await unfinished(b)) == (source + 5000, 0)
        second, _ = await submitted(b)
        assert await stored(b) == 2 * source + 5000
        await b.jobs.cancel(second)
        assert (await stored(b), await unfinished(b)) == (source + 5000, 0), (
            "the files of what was cancelled go at once"
        )
        await b.jobs.cancel(second, remove=True)
        await b.jobs.cancel(first, remove=True)
        assert await stored(b) == 0
        assert not await b.redis.exists(keys.STORED + OWNER)

    inside(bench, body)


def test_tiles_count_too(bench: Callable[..., Any]) -> None:
    async def body(b: Bench, run: Scripts) -> None:
        id, source = await submitted(b)  # noqa: A001
        await prepared(run, await b.jobs.get(id), 1, tiles_cost=60)
        await done(run, f"{id}.1.strip.0.0")
        tiles = json.dumps({"pyramid": {"key": "p", "bytes": 70}, "before": {"key": "b", "bytes": 30}})
        await done(run, f"{id}.1.tiles.0.0", tiles=tiles)
        await done(run, f"{id}.1.assemble.0.0", result=json.dumps(RESULT | {"bytes": 1000}))
        assert await stored(b) == source + 1000 + 100

    inside(bench, body)


def test_what_expires_is_given_back_by_the_janitor(bench: Callable[..., Any]) -> None:
    async def body(b: Bench, run: Scripts) -> None:
        ended, source = await submitted(b)
        failed, _ = await submitted(b)
        await succeed(run, ended, 5000)
        await run("fail", f"{failed}.1.prepare.0.0", "broken_picture", "It is damaged.")
        assert (await stored(b), await unfinished(b)) == (2 * source + 5000, 0)
        await b.redis.zadd(keys.EXPIRY, {ended: 1, failed: 1})
        assert sorted(await run("expire", 100)) == sorted([ended, failed])
        assert await stored(b) == 0

    inside(bench, body)


def test_a_failed_job_that_begins_again_is_unfinished_again_and_counts_once(bench: Callable[..., Any]) -> None:
    async def body(b: Bench, run: Scripts) -> None:
        id, source = await submitted(b)  # noqa: A001
        await run("fail", f"{id}.1.prepare.0.0", "broken_picture", "It is damaged.")
        await b.jobs.retry(id)
        assert (await stored(b), await unfinished(b)) == (source, 1)
        assert await done(run, f"{id}.2.prepare.0.0", result=json.dumps(RESULT | {"bytes": 7}))
        assert (await stored(b), await unfinished(b)) == (source + 7, 0)

    inside(bench, body)


def test_an_answer_from_an_earlier_result_counts_as_that_result(bench: Callable[..., Any]) -> None:
    async def body(b: Bench, run: Scripts) -> None:
        first, source = await submitted(b, fresh=False)
        await succeed(run, first, 5000)
        again, _ = await submitted(b, fresh=False)
        assert (await b.jobs.get(again)).cached
        assert (await stored(b), await unfinished(b)) == (source + 10_000, 0)
        await b.jobs.cancel(again, remove=True)
        assert await stored(b) == source + 5000

    inside(bench, body, cache_ttl=3600)


def test_more_than_an_owner_may_store_is_refused_and_leaves_nothing(bench: Callable[..., Any]) -> None:
    async def body(b: Bench, run: Scripts) -> None:
        first, source = await submitted(b)
        await succeed(run, first, 5000)
        most = 2 * source + 4999
        new = await b.new(owner=OWNER, fresh=True, most_stored=most)
        with pytest.raises(QuotaError) as refused:
            await b.jobs.submit(new)
        assert (refused.value.limit, refused.value.code) == (most, "quota_exceeded")
        assert not b.files(new.id)
        assert await b.jobs.get(new.id) is None
        assert await stored(b) == source + 5000
        # Places for uploads count, too, as long as they are kept.
        now = int((await b.redis.time())[0])
        await b.redis.hset(keys.UPLOADED + OWNER, mapping={"up_1": f"100:{now + 600}", "up_2": f"999999:{now - 10}"})
        with pytest.raises(QuotaError):
            await submitted(b, most_stored=2 * source + 5099)
        # Another owner's are another matter.
        await b.jobs.submit(await b.new(owner="key_bob", fresh=True, most_stored=source))
        await submitted(b, most_stored=2 * source + 5100)

    inside(bench, body)


def test_unfinished_jobs_are_bounded(bench: Callable[..., Any]) -> None:
    async def body(b: Bench, run: Scripts) -> None:
        token = await b.jobs.reserve(OWNER, "k")
        first, _ = await submitted(b, most_unfinished=2, idempotency=Idempotency("k", "f", token))
        await submitted(b, most_unfinished=2)
        with pytest.raises(QuotaError, match="2 jobs of this key are not finished") as refused:
            await submitted(b, most_unfinished=2)
        assert (refused.value.limit, refused.value.retry_after) == (2, 5)
        # Who repeats a request gets its job all the same.
        assert (await submitted(b, most_unfinished=2, idempotency=Idempotency("k", "f", "other")))[0] == first
        await b.jobs.submit(await b.new(owner="key_bob", fresh=True, most_unfinished=1))
        await succeed(run, first, 10)
        await submitted(b, most_unfinished=2)

    inside(bench, body)


def test_the_count_never_drifts(bench: Callable[..., Any]) -> None:
    """200 random steps; after each, the count is what adding up the owner's jobs gives: recounting changes nothing."""

    async def body(b: Bench, run: Scripts) -> None:
        chance = random.Random(5)
        ids: list[str] = []
        pictures = [png(seed=seed) for seed in range(3)]
        steps = 0
        for _ in range(200):
            id = chance.choice(ids) if ids else ""  # noqa: A001
            match chance.randrange(8) if ids else 0:
                case 0 | 1 | 2:
                    ids.append((await submitted(b, picture=chance.choice(pictures), fresh=chance.random() < 0.5))[0])
                case 3:
                    result = json.dumps(RESULT | {"bytes": chance.randrange(1, 9999)})
                    await done(run, f"{id}.{chance.choice('12')}.prepare.0.0", result=result)
                case 4:
                    await run("fail", f"{id}.1.prepare.0.0", "broken_picture", "It is damaged.")
                case 5:
                    await b.jobs.cancel(id, remove=chance.random() < 0.5)
                case 6:
                    await b.jobs.retry(id)
                case 7 if await b.redis.zscore(keys.EXPIRY, id):
                    await b.redis.zadd(keys.EXPIRY, {id: 1})
                    await run("expire", 100)
            before = await stored(b), await b.redis.smembers(keys.UNFINISHED + OWNER)
            assert await run("recount", OWNER) == 0
            assert before == (await stored(b), await b.redis.smembers(keys.UNFINISHED + OWNER))
            steps += before[0] > 0 and bool(before[1])
            kept = {home.decode(): int(size) for home, size in (await b.redis.hgetall(keys.HOMES)).items()}
            assert int(await b.redis.get(keys.TOTAL) or 0) == sum(kept.values())
            assert set(kept) == {key.decode().rpartition(":")[2] for key in await b.redis.keys(keys.HOME + "*")}
        assert steps > 50, "there was hardly ever anything to count"
        for id in ids:  # noqa: A001
            await b.jobs.cancel(id)
            await b.jobs.cancel(id, remove=True)
        assert (await stored(b), await unfinished(b)) == (0, 0)
        assert not await b.redis.exists(keys.TOTAL, keys.HOMES)

    inside(bench, body, cache_ttl=3600)


def test_files_that_two_jobs_share_count_once(bench: Callable[..., Any]) -> None:
    async def body(b: Bench, run: Scripts) -> None:
        first, source = await submitted(b, fresh=False)
        await succeed(run, first, 5000)
        second, _ = await submitted(b, fresh=False)
        assert (await b.jobs.get(second)).cached
        assert await b.redis.get(keys.TOTAL) == str(source + 5000).encode()
        assert (await b.jobs.health()).stored_bytes == source + 5000
        await b.jobs.cancel(first, remove=True)
        assert (await b.jobs.health()).stored_bytes == source + 5000, "the second job's result lies there"
        await b.jobs.cancel(second, remove=True)
        assert (await b.jobs.health()).stored_bytes == 0

    inside(bench, body, cache_ttl=3600)


def test_a_wrong_count_is_mended(bench: Callable[..., Any]) -> None:
    async def body(b: Bench, run: Scripts) -> None:
        _, source = await submitted(b)
        await b.redis.set(keys.STORED + OWNER, 12345)
        await b.redis.sadd(keys.UNFINISHED + OWNER, "job_gone")
        await Janitor(b.redis, run, b.storage).recount()
        assert (await stored(b), await unfinished(b)) == (source, 1)

    inside(bench, body)


def test_who_has_no_key_is_not_counted(bench: Callable[..., Any]) -> None:
    async def body(b: Bench, run: Scripts) -> None:
        job = await b.jobs.submit(await b.new())
        await succeed(run, job.id, 10)
        assert not await b.redis.exists(keys.STORED)

    inside(bench, body)


def test_two_submissions_at_once_do_not_both_take_the_last_place(bench: Callable[..., Any]) -> None:
    async def body(b: Bench, run: Scripts) -> None:
        news = [await b.new(owner=OWNER, fresh=True, most_unfinished=1) for _ in range(4)]
        ends = await asyncio.gather(*(b.jobs.submit(new) for new in news), return_exceptions=True)
        assert sum(isinstance(end, QuotaError) for end in ends) == 3

    inside(bench, body)
