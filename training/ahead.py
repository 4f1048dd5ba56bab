"""Work done ahead in threads, delivered in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def usable_cpus() -> int:
    """CPUs that this process may run on, at least 1."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ahead(
    function: Callable[[Item], Result], items: Iterable[Item], *, depth: int, threads: int | None = None
) -> Iterator[Result]:
    """Yields ``function(item)`` in the order of ``items``, with up to ``depth`` calls under way or done beyond it.

    ``items`` may be endless: at most ``depth + 1`` are taken before the first result is yielded. An exception of
    ``function`` is raised where its result would have come. Closing the iterator drops what has not begun and waits
    for what has.
    """
    pool = ThreadPoolExecutor(threads or usable_cpus(), thread_name_prefix="ahead")
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
