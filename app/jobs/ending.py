"""Ends tasks that run for as long as their process does."""

from __future__ import annotations

import asyncio
from typing import Any

_AGAIN_SECONDS = 1.0


async def ended(*tasks: asyncio.Task[Any]) -> Exception | None:
    """Cancels the tasks and returns when all have ended; gives what one of them failed with.

    As often as it takes: a library that awaits with time limits may lose one cancellation (seen with redis 5.3 under
    Python 3.11: the task went on, and whoever awaited its end waited for ever).
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_AGAIN_SECONDS)
    failures = [task.exception() for task in tasks if not task.cancelled()]
    return next((failure for failure in failures if isinstance(failure, Exception)), None)
