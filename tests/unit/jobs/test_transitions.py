"""Every change of a job is one transaction; here they are called as workers and the janitor call them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from arq.connections import ArqRedis

from app.jobs import IdempotencyBusyError, IdempotencyConflictError, Job, keys
from app.jobs.model import Idempotency, Webhook
from app.jobs.scripts import Scripts
from app.jobs.worker import serialize
from tests.unit.jobs.conftest import Bench, png

RESULT = {"key": "jobs/x/result/0-a", "bytes": 1, "media_type": "image/png", "extension": "png", "sha256": "0" * 64}


def inside(bench: Callable[..., Any], body: Callable[[Bench, Scripts], Any], **given: Any) -> None:
    async def run() -> None:
        async with bench(connect=False, **given) as b:
            await body(b, Scripts(b.redis))

    asyncio.run(run())


async def queue_of(b: Bench) -> list[str]:
    """Tasks in the order in which workers take them, without their job's id."""
    return [each.decode() for each in await b.redis.zrange(keys.QUEUE, 0, -1)]


async def submit(b: Bench, **given: Any) -> Job:
    return await b.jobs.submit(await b.new(**given))


async def done(run: Scripts, task: str, **outcome: Any) -> int:
    """Begins and completes a task as a worker does."""
    await run("begin", task, "w")
    return int(await run("complete", task, json.dumps(outcome)))


async def prepared(run: Scripts, job: Job, units: int, picture: int = 0, **more: Any) -> None:
    await done(run, f"{job.id}.1.prepare.{picture}.0", plan="t", units=units, cost=1000, assemble_cost=100, **more)


async def state(b: Bench, job: Job) -> str:
    found = await b.jobs.get(job.id)
    assert found is not None
    return found.state


def test_a_job_goes_through_its_states_and_only_forward(bench: Callable[..., Any]) -> None:
    async def body(b: Bench, run: Scripts) -> None:
        job = await submit(b)
        assert await queue_of(b) == [f"{job.id}.1.prepare.0.0"]
        await run("begin", f"{job.id}.1.prepare.0.0", "w")
        assert await state(b, job) == "preparing"
        await prepared(run, job, 3)
        assert await state(b, job) == "running"
        for unit in (2, 0, 1):
            assert await done(run, f"{job.id}.1.strip.0.{unit}") == 1
        assert await state(b, job) == "assembling"
        # A late second run of anything changes nothing.
        version = (await b.jobs.get(job.id)).version
        assert await done(run, f"{job.id}.1.strip.0.1") == 0
        await prepared(run, job, 7)
        assert (await b.jobs.get(job.id)).version == version
        assert await done(run, f"{job.id}.1.assemble.0.0", result=json.dumps(RESULT)) == 2
        finished = await b.jobs.get(job.id)
        assert (finished.state, finished.done, finished.total, finished.result.bytes) == ("succeeded", 3, 3, 1)
        assert await done(run, f"{job.id}.1.assemble.0.0", result=json.dumps(RESULT | {"bytes": 2})) == 0
        version = (await b.jobs.get(job.id)).version
        assert await done(run, f"{job.id}.1.assemble.0.0", result=json.dumps(RESULT)) == 2, "the answer was lost"
        assert (await b.jobs.get(job.id)).version == version
        assert await run("fail", f"{job.id}.1.assemble.0.0", "x", "y") == 0
        assert (await b.jobs.get(job.id)).result.bytes == 1
        assert await b.redis.zcard(keys.ACTIVE) == await b.redis.zcard(keys.WAITING) == 0

    inside(bench, body)


@pytest.mark.parametrize("last", ["assemble", "tiles"])
def test_result_and_tiles_are_made_beside_each_other(bench: Callable[..., Any], last: str) -> None:
    async def body(b: Bench, run: Scripts) -> None:
        job = await submit(b)
        await prepared(run, job, 1, tiles_cost=60)
        await done(run, f"{job.id}.1.strip.0.0")
        assert sorted(await queue_of(b)) == [f"{job.id}.1.assemble.0.0", f"{job.id}.1.tiles.0.0"]
        tiles = {"pyramid": {"key": "p", "bytes": 70}, "before": {"key": "b", "bytes": 30}}
        made = {"assemble": {"result": json.dumps(RESULT)}, "tiles": {"tiles": json.dumps(tiles)}}
        first = "tiles" if last == "assemble" else "assemble"
        for _ in range(2):
            assert await done(run, f"{job.id}.1.{first}.0.0", **made[first]) == 1, (
                "the other one still reads the strips"
            )
        between = await b.jobs.get(job.id)
        assert (between.state, between.result, between.tiles) == ("assembling", None, None)
        for _ in range(2):
            assert await done(run, f"{job.id}.1.{last}.0.0", **made[last]) == 2
        assert await done(run, f"{job.id}.1.{first}.0.0", **made[first]) == 2
        finished = await b.jobs.get(job.id)
        assert (finished.state, finished.result.bytes, finished.tiles) == ("succeeded", 1, tiles)

    inside(bench, body)


def test_a_retry_takes_no_tiles_of_the_epoch_that_failed(bench: Callable[..., Any]) -> None:
    async def body(b: Bench, run: Scripts) -> None:
        job = await submit(b)
        await prepared(run, job, 1, tiles_cost=60)
        await done(run, f"{job.id}.1.strip.0.0")
        await done(run, f"{job.id}.1.tiles.0.0", tiles=json.dumps({"pyramid": {}, "before": {}}))
        await run("fail", f"{job.id}.1.assemble.0.0", "internal_error", "No.")
        await run("retry", job.id)
        assert await done(run, f"{job.id}.2.prepare.0.0", result=json.dumps(RESULT)) == 1
        finished = await b.jobs.get(job.id)
        assert (finished.state, finished.tiles) == ("succeeded", None)

    inside(bench, body)


def test_the_first_end_is_the_only_one(bench: Callable[..., Any]) -> None:
    async def body(b: Bench, run: Scripts) -> None:
        cancelled, failed = await submit(b), await submit(b, fresh=True)
        await b.jobs.cancel(cancelled.id)
        await run("fail", f"{failed.id}.1.prepare.0.0", "broken_picture", "It is damaged.")
        for job, end in ((cancelled, "cancelled"), (failed, "failed")):
            assert await done(run, f"{job.id}.1.prepare.0.0", result=json.dumps(RESULT)) == 0
            await b.jobs.cancel(job.id)
            assert await state(b, job) == end
        assert (await b.jobs.get(failed.id)).error.code == "broken_picture"
        assert await queue_of(b) == []

    inside(bench, body)


def test_what_our_script_queues_is_what_arq_would(bench: Callable[..., Any]) -> None:
    async def body(b: Bench, run: Scripts) -> None:
        job = await submit(b)
        task = f"{job.id}.1.prepare.0.0"
        ours = json.loads(await b.redis.get("arq:job:" + task))
        arq = ArqRedis(b.redis.connection_pool, job_serializer=serialize, default_queue_name=keys.QUEUE)
        await arq.enqueue_job("task", _job_id="theirs", v=1, task=task)
        theirs = json.loads(await b.redis.get("arq:job:theirs"))
        assert set(ours) == set(theirs)
        assert {**ours, "et": 0} == {**theirs, "et": 0}
        assert abs(ours["et"] - theirs["et"]) < 60_000
        assert await b.redis.pttl("arq:job:" + task) > 25 * 24 * 3_600_000  # arq's own default is a day

    inside(bench, body)


def test_every_worker_takes_another_task_however_many_are_in_hand(bench: Callable[..., Any]) -> None:
    async def body(b: Bench, run: Scripts) -> None:
        job = await submit(b)
        await prepared(run, job, 250)
        queued = await queue_of(b)
        await b.redis.zadd(keys.QUEUE, {queued[-1]: 4e12})  # put off until another time
        taken = [(await run("take", 60_000))[0] for _ in range(249)]
        assert taken == queued[:-1]
        assert await run("take", 60_000) == []
        await b.redis.delete("arq:in-progress:" + queued[230])  # as the janitor does when its worker died
        assert (await run("take", 60_000))[0] == queued[230]

    inside(bench, body)


def test_a_small_job_does_not_wait_for_a_large_one(bench: Callable[..., Any]) -> None:
    async def body(b: Bench, run: Scripts) -> None:
        large = await submit(b)
        await prepared(run, large, 1000)
        for unit in range(5):
            await done(run, f"{large.id}.1.strip.0.{unit}")
        small = await submit(b, fresh=True)
        await prepared(run, small, 3)
        order = await queue_of(b)
        # Strips of equal cost alternate: the third of the small job is at most the seventh to be taken.
        assert order.index(f"{small.id}.1.strip.0.2") <= 6
        later = await submit(b, priority="batch", fresh=True)
        assert (await queue_of(b))[-1] == f"{later.id}.1.prepare.0.0"

    inside(bench, body)


def test_position_counts_the_jobs_ahead(bench: Callable[..., Any]) -> None:
    async def body(b: Bench, run: Scripts) -> None:
        batch = await submit(b, priority="batch")
        first = await submit(b, fresh=True)
        second = await submit(b, fresh=True)
        assert [(await b.jobs.get(job.id)).position for job in (first, second, batch)] == [0, 1, 2]
        await run("begin", f"{first.id}.1.prepare.0.0", "w")
        assert [(await b.jobs.get(job.id)).position for job in (first, second, batch)] == [None, 0, 1]

    inside(bench, body)


def test_a_dead_worker_frees_its_tasks_and_the_third_death_sets_the_picture_aside(bench: Callable[..., Any]) -> None:
    async def body(b: Bench, run: Scripts) -> None:
        job, other = await submit(b), await submit(b, fresh=True)
        task = f"{job.id}.1.prepare.0.0"
        for death in (1, 2, 3):
            worker = f"w{death}"
            await run("beat", worker, "{}")
            await b.redis.set("arq:in-progress:" + task, "1")
            await run("begin", task, worker)
            assert await run("bury", 60_000) == []
            assert await run("bury", -1) == [[worker, task, death]]
            assert not await b.redis.exists("arq:in-progress:" + task)
            assert await state(b, job) == ("preparing" if death < 3 else "failed")
        assert (await b.jobs.get(job.id)).error.code == "set_aside"
        assert await queue_of(b) == [f"{other.id}.1.prepare.0.0"]

    inside(bench, body)


def test_deaths_on_everything_are_nobodys_fault_but_end_at_last(bench: Callable[..., Any]) -> None:
    """Workers that are killed at random, one after another: a task that had one goes behind the others."""

    async def body(b: Bench, run: Scripts) -> None:
        jobs = [await submit(b, fresh=True) for _ in range(3)]
        tasks = [f"{job.id}.1.prepare.0.0" for job in jobs]
        for death in range(1, 11):
            for task in tasks:
                assert (await queue_of(b))[0] == task
                await run("beat", "w", "{}")
                await run("begin", task, "w")
                assert await run("bury", -1) == [["w", task, death]]
                assert await state(b, jobs[tasks.index(task)]) == ("preparing" if death < 10 else "failed")
        assert await b.redis.zcard(keys.DEATHS) == 30

    inside(bench, body)


def test_one_death_elsewhere_does_not_excuse_a_picture_that_kills(bench: Callable[..., Any]) -> None:
    async def body(b: Bench, run: Scripts) -> None:
        job, other = await submit(b), await submit(b, fresh=True)
        for victim in (job, other, job, job):
            task = f"{victim.id}.1.prepare.0.0"
            await run("beat", "w", "{}")
            await run("begin", task, "w")
            await run("bury", -1)
        assert (await state(b, job), await state(b, other)) == ("failed", "preparing")
        # What happened long ago excuses nothing.
        await b.redis.zadd(keys.DEATHS, {f"old{n}.1.prepare.0.0 1": 1 for n in range(9)})
        for _ in range(2):
            await run("beat", "w", "{}")
            await run("begin", f"{other.id}.1.prepare.0.0", "w")
            await run("bury", -1)
        assert await b.redis.zcard(keys.DEATHS) == 6

    inside(bench, body)


def test_a_worker_that_departs_holds_nothing_back(bench: Callable[..., Any]) -> None:
    """It may not know that it began a task: it was stopped before the answer reached it."""

    async def body(b: Bench, run: Scripts) -> None:
        job, other = await submit(b), await submit(b, fresh=True)
        task, kept = f"{job.id}.1.prepare.0.0", f"{other.id}.1.prepare.0.0"
        for name, worker in ((task, "stopped"), (kept, "living")):
            await run("beat", worker, "{}")
            await b.redis.set("arq:in-progress:" + name, "1")
            await run("begin", name, worker)
        await run("depart", "stopped")
        assert await b.redis.hgetall(keys.RUNNING) == {kept.encode(): b"living"}
        assert not await b.redis.exists("arq:in-progress:" + task)
        assert await b.redis.exists("arq:in-progress:" + kept)
        # The beginning may even arrive last; then it is a death like any other.
        await run("begin", task, "stopped")
        assert sorted(told[:2] for told in await run("bury", -1)) == [["living", kept], ["stopped", task]]
        assert not await b.redis.hlen(keys.RUNNING)

    inside(bench, body)


def test_a_worker_that_was_only_slow_is_no_death(bench: Callable[..., Any]) -> None:
    async def body(b: Bench, run: Scripts) -> None:
        job = await submit(b)
        task = f"{job.id}.1.prepare.0.0"
        for _ in range(5):
            await run("beat", "slow", "{}", task)
            await run("begin", task, "slow")
            await run("bury", -1)
        await run("beat", "slow", "{}", task)
        assert await state(b, job) == "preparing"

    inside(bench, body)


def test_lost_and_stuck_tasks_are_mended(bench: Callable[..., Any]) -> None:
    async def body(b: Bench, run: Scripts) -> None:
        job = await submit(b)
        task = f"{job.id}.1.prepare.0.0"
        assert await run("mend", 0, job.id) == 0
        for lost in ("message", "queue"):
            await (b.redis.delete("arq:job:" + task) if lost == "message" else b.redis.zrem(keys.QUEUE, task))
            assert await run("mend", 0, job.id) == 1
            assert await queue_of(b) == [task]
            assert await b.redis.exists("arq:job:" + task)
        # arq took it, and the worker died before it began.
        await b.redis.set("arq:in-progress:" + task, "1")
        assert await run("mend", 60_000, job.id) == 0
        assert await run("mend", 0, job.id) == 1
        assert not await b.redis.exists("arq:in-progress:" + task)
        # A living worker has it: nothing is repaired.
        await run("beat", "w", "{}", task)
        await run("begin", task, "w")
        await b.redis.set("arq:in-progress:" + task, "1")
        assert await run("mend", 0, job.id) == 0

    inside(bench, body)


def test_deferred_tasks_come_back_into_the_order_and_dead_entries_go(bench: Callable[..., Any]) -> None:
    async def body(b: Bench, run: Scripts) -> None:
        first = await submit(b)
        second = await submit(b, fresh=True)
        task = f"{first.id}.1.prepare.0.0"
        seconds, _ = await b.redis.time()
        await b.redis.zadd(keys.QUEUE, {task: seconds * 1000 - 5})  # it was put off, and its time has come
        assert (await queue_of(b))[0].startswith(second.id)
        await b.redis.zadd(keys.QUEUE, {"job_gone.1.strip.0.0": 7})
        assert await run("tidy", 100) == [1, 1]
        assert await queue_of(b) == [task, f"{second.id}.1.prepare.0.0"]
        await b.redis.zadd(keys.QUEUE, {task: seconds * 1000 + 60_000})  # its time has not come
        assert await run("tidy", 100) == [0, 0]

    inside(bench, body)


def test_what_may_pass_is_tried_again_up_to_a_limit(bench: Callable[..., Any]) -> None:
    async def body(b: Bench, run: Scripts) -> None:
        job = await submit(b)
        task = f"{job.id}.1.prepare.0.0"
        assert [await run("again", task, 3, "timed_out", "It took too long.") for _ in range(3)] == [1, 1, 0]
        assert (await b.jobs.get(job.id)).error.code == "timed_out"
        assert await run("again", task, 3, "timed_out", "It took too long.") == 0

    inside(bench, body)


def test_an_operator_begins_a_failed_job_again(bench: Callable[..., Any]) -> None:
    async def body(b: Bench, run: Scripts) -> None:
        job = await submit(b)
        assert await b.jobs.retry(job.id) == "queued"
        await prepared(run, job, 2)
        await done(run, f"{job.id}.1.strip.0.0")
        await run("fail", f"{job.id}.1.strip.0.1", "x", "y")
        assert await b.jobs.retry(job.id) == "failed"
        again = await b.jobs.get(job.id)
        assert (again.state, again.epoch, again.done, again.total, again.error) == ("queued", 2, 0, 0, None)
        assert await queue_of(b) == [f"{job.id}.2.prepare.0.0"]
        # What an old worker still brings is of the old epoch.
        assert await done(run, f"{job.id}.1.strip.0.1") == 0
        assert await done(run, f"{job.id}.2.prepare.0.0", result=json.dumps(RESULT)) == 1
        assert await state(b, job) == "succeeded"
        assert await b.jobs.retry("job_none") == ""

    inside(bench, body)


def test_several_pictures_end_in_one_pack(bench: Callable[..., Any]) -> None:
    async def body(b: Bench, run: Scripts) -> None:
        job = await submit(b, pictures=[png(seed=1), png(seed=2)], batch=True)
        await prepared(run, job, 1, picture=1)
        assert await done(run, f"{job.id}.1.prepare.0.0", result=json.dumps(RESULT)) == 1
        await done(run, f"{job.id}.1.strip.1.0")
        assert await state(b, job) == "assembling"
        await done(run, f"{job.id}.1.assemble.1.0", result=json.dumps(RESULT))
        assert await queue_of(b) == [f"{job.id}.1.pack.0.0"]
        await done(run, f"{job.id}.1.pack.0.0", result=json.dumps(RESULT))
        assert await state(b, job) == "succeeded"

    inside(bench, body)


def test_one_idempotency_key_makes_one_job(bench: Callable[..., Any]) -> None:
    async def body(b: Bench, run: Scripts) -> None:
        token = await b.jobs.reserve("me", "k")
        with pytest.raises(IdempotencyBusyError):
            await b.jobs.reserve("me", "k")
        other = await b.jobs.reserve("somebody else", "k")
        assert other != token
        job = await submit(b, owner="me", idempotency=Idempotency("k", "print", token))
        await b.jobs.release("me", "k", token)  # as at the end of the request: it is the job's now
        again = await b.jobs.reserve("me", "k")
        new = await b.new(owner="me", idempotency=Idempotency("k", "print", again))
        assert (await b.jobs.submit(new)).id == job.id
        assert b.files(new.id) == []
        new = await b.new(owner="me", idempotency=Idempotency("k", "another print", again))
        with pytest.raises(IdempotencyConflictError):
            await b.jobs.submit(new)
        assert b.files(new.id) == []
        assert len(await queue_of(b)) == 1
        # A job that is gone frees its key.
        await b.jobs.cancel(job.id)
        await b.jobs.cancel(job.id, remove=True)
        assert (await submit(b, owner="me", idempotency=Idempotency("k", "third", again))).id != job.id

    inside(bench, body)


def test_a_request_that_gives_up_frees_its_key(bench: Callable[..., Any]) -> None:
    async def body(b: Bench, run: Scripts) -> None:
        token = await b.jobs.reserve("me", "k")
        await b.jobs.release("me", "k", "receiving:somebody's")
        with pytest.raises(IdempotencyBusyError):
            await b.jobs.reserve("me", "k")
        await b.jobs.release("me", "k", token)
        await b.jobs.reserve("me", "k")

    inside(bench, body)


@pytest.mark.parametrize("across", [False, True])
def test_the_same_work_is_answered_from_its_result(bench: Callable[..., Any], across: bool) -> None:
    async def body(b: Bench, run: Scripts) -> None:
        first = await submit(b, owner="me")
        await done(run, f"{first.id}.1.prepare.0.0", result=json.dumps(RESULT), notices='["first-frame-only"]')
        same = await submit(b, owner="me", name="other name.png")
        assert (same.state, same.cached, same.home, same.notices) == (
            "succeeded", True, first.id, ("first-frame-only",),
        )  # fmt: skip
        assert same.result == (await b.jobs.get(first.id)).result
        stranger = await submit(b, owner="you")
        assert stranger.cached is across
        for change in ({"fresh": True}, {"options": {"scale": 4}}, {"picture": png(seed=9)}):
            assert not (await submit(b, owner="me", **change)).cached
        # The files go when nobody uses them any more: not with the first job.
        await b.jobs.cancel(first.id, remove=True)
        graves = [each.decode() for each in await b.redis.zrange(keys.GRAVES, 0, -1)]
        assert first.id not in graves
        assert same.id in graves  # what was stored for the second request
        await b.jobs.cancel(same.id, remove=True)
        if not across:
            assert first.id in [each.decode() for each in await b.redis.zrange(keys.GRAVES, 0, -1)]

    inside(bench, body, cache_across_owners=across)


def test_webhook_events_are_written_with_the_change(bench: Callable[..., Any]) -> None:
    async def body(b: Bench, run: Scripts) -> None:
        job = await submit(b, webhook=Webhook("https://example.org/hook", ("succeeded",)))
        await submit(b, fresh=True)
        await done(run, f"{job.id}.1.prepare.0.0", result=json.dumps(RESULT))
        (event,) = [json.loads(each) for each in await b.redis.lrange(keys.OUTBOX, 0, -1)]
        assert (event["job"], event["event"]) == (job.id, "succeeded")
        assert job.id in event["id"]

    inside(bench, body)


def test_listing_goes_from_page_to_page(bench: Callable[..., Any]) -> None:
    async def body(b: Bench, run: Scripts) -> None:
        made = [(await submit(b, owner="me", fresh=True)).id for _ in range(7)]
        await submit(b, owner="you", fresh=True)
        seen: list[str] = []
        cursor = None
        while True:
            page, cursor = await b.jobs.list("me", cursor=cursor, limit=3)
            seen += [job.id for job in page]
            if cursor is None:
                break
        assert len(seen) == 7
        assert set(seen) == set(made)
        times = [(await b.jobs.get(id)).created for id in seen]  # noqa: A001
        assert times == sorted(times, reverse=True)
        with pytest.raises(ValueError):
            await b.jobs.list("me", cursor="nonsense!", limit=3)

    inside(bench, body)
