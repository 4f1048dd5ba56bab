"""Tasks end also where one cancellation is lost."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from app.jobs.ending import ended


def test_a_task_that_loses_a_cancellation_ends_with_the_next() -> None:
    async def forgetful() -> None:
        with suppress(asyncio.CancelledError):  # what a library does that takes it for its own time limit
            await asyncio.sleep(60)
        await asyncio.sleep(60)

    async def broken() -> None:
        raise ValueError("broken")

    async def run() -> Exception | None:
        tasks = [asyncio.create_task(forgetful()), asyncio.create_task(broken())]
        await asyncio.sleep(0)
        async with asyncio.timeout(30):
            return await ended(*tasks)

    assert isinstance(asyncio.run(run()), ValueError)
