"""Compresses blocks in worker threads and hands them back in order, with a bounded number under way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Block = TypeVar("Block")


class OrderedPool(Generic[Block]):
    """Runs jobs in ``threads`` threads; results come out in the order of submission.

    At most 2 x ``threads`` jobs are under way: beyond that, ``submit`` waits for the oldest. So memory is bounded,
    and the caller goes on computing while blocks are compressed.
    """

    def __init__(self, threads: int, deliver: Callable[[Block], None], name: str) -> None:
        self._pool = ThreadPoolExecutor(max(1, threads), thread_name_prefix=name)
        self._deliver = deliver
        self._pending: deque[Future[Block]] = deque()
        self._most = 2 * max(1, threads)

    def submit(self, job: Callable[[], Block]) -> None:
        """Queues ``job``; delivers, in the calling thread, whatever is finished at the front of the queue."""
        self._pending.append(self._pool.submit(job))
        while self._pending and (len(self._pending) > self._most or self._pending[0].done()):
            self._deliver(self._pending.popleft().result())

    def drain(self) -> None:
        """Delivers all that is left."""
        while self._pending:
            self._deliver(self._pending.popleft().result())

    def close(self) -> None:
        """Drops what has not begun and waits for the threads."""
        self._pending.clear()
        self._pool.shutdown(wait=True, cancel_futures=True)
