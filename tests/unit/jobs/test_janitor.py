"""What the janitor does, and when it does not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.jobs import janitor, keys
from app.jobs.janitor import Janitor
from app.jobs.scripts import Scripts
from tests.unit.jobs.conftest import Bench


def inside(bench: Callable[..., Any], body: Callable[[Bench, Scripts], Any], **given: Any) -> None:
    async def run() -> None:
        async with bench(connect=False, **given) as b:
            await body(b, Scripts(b.redis))

    asyncio.run(run())


def test_one_process_is_the_janitor_until_it_gives_up(bench: Callable[..., Any]) -> None:
    async def body(b: Bench, run: Scripts) -> None:
        assert [await run("hold", who, 60_000) for who in ("one", "two", "one")] == [1, 0, 1]
        await run("release", keys.LEASE, "two")
        assert await run("hold", "two", 60_000) == 0
        await run("release", keys.LEASE, "one")
        assert await run("hold", "two", 60_000) == 1

    inside(bench, body)


def test_nobody_is_dead_before_the_janitor_has_watched_for_a_while(
    bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an outage of the queue all heartbeats are old."""
    now = 1000.0
    monkeypatch.setattr(janitor.time, "monotonic", lambda: now)

    async def body(b: Bench, run: Scripts) -> None:
        nonlocal now
        job = await b.jobs.submit(await b.new())
        task = f"{job.id}.1.prepare.0.0"
        await run("beat", "w", "{}")
        await run("begin", task, "w")
        await b.redis.zadd(keys.WORKERS, {"w": 1})
        keeper = Janitor(b.redis, run, b.storage)
        await keeper.round()
        now += janitor.DEAD_AFTER_SECONDS - 0.1
        await keeper.round()
        assert await b.redis.hlen(keys.RUNNING) == 1
        now += 0.2
        await keeper.round()
        assert await b.redis.hlen(keys.RUNNING) == 0

    inside(bench, body)


def test_folders_are_kept_while_a_worker_writes_there(bench: Callable[..., Any]) -> None:
    async def body(b: Bench, run: Scripts) -> None:
        job = await b.jobs.submit(await b.new())
        task = f"{job.id}.1.prepare.0.0"
        await run("begin", task, "w")
        await b.jobs.cancel(job.id)
        await b.jobs.dig()
        assert b.files(job.id)
        await run("leave", task)
        await b.jobs.dig()
        assert not b.files(job.id)
        assert await b.redis.zcard(keys.GRAVES) == 0

    inside(bench, body)


def test_what_a_crash_left_without_a_job_is_swept(
    bench: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(b: Bench, run: Scripts) -> None:
        staged, job = await b.new(), await b.jobs.submit(await b.new(fresh=True))
        keeper = Janitor(b.redis, run, b.storage)
        assert await keeper.sweep() == 0  # it may be on its way to become a job
        later = time.time() + 4000
        monkeypatch.setattr(janitor.time, "time", lambda: later)
        assert await keeper.sweep() == 1
        await keeper.dig()
        assert not b.files(staged.id)
        assert b.files(job.id)

    inside(bench, body)


def test_every_key_is_in_the_documentation() -> None:
    text = (Path(__file__).parents[3] / "docs" / "jobs.md").read_text(encoding="utf-8")
    for name in keys.NAMES.values():
        assert f"`{name.removeprefix(keys.PREFIX).rstrip(':')}" in text, name
