"""Webhooks against a real queue server and a receiver that fails first."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis

from app.jobs import keys, open_redis
from app.jobs.egress import Gate
from app.jobs.webhooks import DELAYS, Event, Webhooks, signed
from tests.unit.jobs.receiver import Received, Receiver, answer, receiver

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - the one of the standard's own example


def event(url: str, id: str = "msg_1") -> Event:  # noqa: A002
    return Event(id, url, "job.succeeded", 1_700_000_000.25, {"id": "job_x", "state": "succeeded", "name": "кот"})


@asynccontextmanager
async def webhooks(
    url: str, *servers: Receiver, delays: Sequence[float] = (0, 0, 0)
) -> AsyncIterator[tuple[Webhooks, Redis]]:
    redis = open_redis(url)
    try:
        yield Webhooks(redis, Gate([server.host for server in servers]), SECRET, delays=delays), redis
    finally:
        await redis.aclose()  # type: ignore[attr-defined]


async def until_delivered(hooks: Webhooks, server: Receiver, number: int) -> None:
    """Delivers until so many attempts were made: a delay of 0 is due at once, but the clock has whole seconds."""
    async with asyncio.timeout(60):
        while len(server.requests) < number:
            await hooks.deliver_due()


def verify(request: Received) -> None:
    """What a receiver does, written from the standard's text."""
    head = request.headers
    assert abs(time.time() - int(head["webhook-timestamp"])) < 300
    content = f"{head['webhook-id']}.{head['webhook-timestamp']}.".encode() + request.body
    key = base64.b64decode(SECRET.split("_")[1])
    expected = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    assert head["webhook-signature"] == "v1," + expected


def test_the_example_of_the_standard() -> None:
    headers = signed(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_delays_are_a_back_off_of_less_than_a_day() -> None:
    assert list(DELAYS) == sorted(DELAYS)
    assert sum(DELAYS) < 24 * 3600


def test_a_receiver_that_fails_first(redis_url: str) -> None:
    async def run() -> None:
        answers = [answer(500), b"", answer(302, Location="http://127.0.0.1/"), answer(204)]
        async with receiver(*answers) as server, webhooks(redis_url, server) as (hooks, redis):
            await hooks.schedule(event(f"http://{server.host}/hook?token=1"))
            await until_delivered(hooks, server, 4)
            await hooks.deliver_due()
            assert len(server.requests) == 4
            assert {(request.method, request.path) for request in server.requests} == {("POST", "/hook?token=1")}
            assert {request.headers["webhook-id"] for request in server.requests} == {"msg_1"}
            assert len({request.body for request in server.requests}) == 1
            for request in server.requests:
                verify(request)
            assert json.loads(server.requests[0].body) == {
                "type": "job.succeeded",
                "timestamp": "2023-11-14T22:13:20.250Z",
                "data": {"id": "job_x", "state": "succeeded", "name": "кот"},
            }
            assert await redis.zcard(keys.WEBHOOKS) == 0
            assert await redis.hget(keys.WEBHOOK + "msg_1", "body") == b""  # type: ignore[misc]

    asyncio.run(run())


def test_an_event_that_is_scheduled_twice_is_sent_once(redis_url: str) -> None:
    async def run() -> None:
        async with receiver(answer(200)) as server, webhooks(redis_url, server) as (hooks, redis):
            await hooks.schedule(event(f"http://{server.host}/"))
            await hooks.schedule(event(f"http://{server.host}/"))
            assert await hooks.deliver_due() == 1
            await hooks.schedule(event(f"http://{server.host}/"))
            await hooks.deliver_due()
            assert len(server.requests) == 1
            assert await redis.zcard(keys.WEBHOOKS) == 0
            assert 0 < await redis.ttl(keys.WEBHOOK + "msg_1") <= 3 * 24 * 3600

    asyncio.run(run())


@pytest.mark.parametrize("status", [410, 500])
def test_giving_up(redis_url: str, status: int, caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        attempts = 1 if status == 410 else 4
        async with receiver(answer(status)) as server, webhooks(redis_url, server) as (hooks, redis):
            await hooks.schedule(event(f"http://{server.host}/secret"))
            await until_delivered(hooks, server, attempts)
            assert await redis.zcard(keys.WEBHOOKS) == 0
            assert await hooks.deliver_due() == 0
            assert len(server.requests) == attempts
        assert f"given up after attempt {attempts}: it answered {status}" in caplog.text
        assert "secret" not in caplog.text

    asyncio.run(run())


def test_a_private_address_is_never_called(redis_url: str) -> None:
    async def run() -> None:
        async with receiver(answer(200)) as server, webhooks(redis_url) as (hooks, redis):
            await hooks.schedule(event(f"http://{server.host}/"))
            await hooks.schedule(event("http://localhost/", "msg_2"))
            assert await hooks.deliver_due() == 2
            assert server.requests == []
            assert await redis.zcard(keys.WEBHOOKS) == 0

    asyncio.run(run())


def test_the_next_attempt_waits(redis_url: str) -> None:
    async def run() -> None:
        async with receiver(answer(503)) as server, webhooks(redis_url, server, delays=[1000, 1]) as (hooks, redis):
            await hooks.schedule(event(f"http://{server.host}/"))
            assert await hooks.deliver_due() == 1
            assert await hooks.deliver_due() == 0
            due = await redis.zscore(keys.WEBHOOKS, "msg_1")
            assert 800 < due - time.time() < 1200

    asyncio.run(run())


def test_processes_share_the_work_and_take_over_from_dead_ones(redis_url: str) -> None:
    async def run() -> None:
        slow = answer(200)
        async with (
            receiver(slow) as server,
            webhooks(redis_url, server) as (one, redis),
            webhooks(redis_url, server) as (other, _),
        ):
            for number in range(20):
                await one.schedule(event(f"http://{server.host}/", f"msg_{number}"))
            assert sum(await asyncio.gather(one.deliver_due(), other.deliver_due())) == 20
            assert len({request.headers["webhook-id"] for request in server.requests}) == len(server.requests) == 20

            await one.schedule(event(f"http://{server.host}/", "msg_taken"))
            await one._claim([keys.WEBHOOKS], [32, 60])  # as a process does that dies now
            assert await other.deliver_due() == 0
            await redis.zincrby(keys.WEBHOOKS, -61, "msg_taken")  # a minute later
            assert await other.deliver_due() == 1
            assert server.requests[-1].headers["webhook-id"] == "msg_taken"

    asyncio.run(run())


def test_the_outbox_is_emptied_and_delivered(redis_url: str) -> None:
    async def run() -> None:
        async with receiver(answer(200)) as server, webhooks(redis_url, server) as (hooks, redis):

            async def describe(job: str, name: str) -> tuple[str, Mapping[str, Any]] | None:
                return None if job == "job_2" else (f"http://{server.host}/{name}", {"id": job})

            for job in ("job_1", "job_2", "job_3"):
                entry = {"id": f"msg_{job}", "job": job, "event": "failed", "at": 1_700_000_000_000}
                await redis.rpush(keys.OUTBOX, json.dumps(entry))  # type: ignore[misc]
            running = asyncio.create_task(hooks.run(describe))
            async with asyncio.timeout(60):
                while len(server.requests) < 2:  # noqa: ASYNC110 - another task's doing
                    await asyncio.sleep(0.02)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            assert await redis.llen(keys.OUTBOX) == 0  # type: ignore[misc]
            told = {request.headers["webhook-id"]: json.loads(request.body) for request in server.requests}
            assert {name: body["data"]["id"] for name, body in told.items()} == {
                "msg_job_1": "job_1",
                "msg_job_3": "job_3",
            }
            assert {body["type"] for body in told.values()} == {"job.failed"}

    asyncio.run(run())


def test_a_queue_that_is_away_is_waited_for(redis_url: str) -> None:
    async def nobody(_job: str, _name: str) -> None:
        return None

    async def run() -> None:
        redis = Redis(host="127.0.0.1", port=1)
        running = asyncio.create_task(Webhooks(redis, Gate(), SECRET).run(nobody))
        done, _ = await asyncio.wait([running], timeout=0.3)
        assert not done
        running.cancel()
        await asyncio.wait([running])

    asyncio.run(run())
