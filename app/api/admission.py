"""How many pictures the service takes in at once, and what it tells the others."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from app.api.problems import UnavailableProblem

MAX_RETRY_SECONDS = 120


class Admission:
    """Counts places and uploads. Belongs to the event loop's thread; nothing here waits.

    Guarantees: at most ``max_requests`` places and ``max_uploads`` uploads are taken at any time, and a place
    is given back however its request ends.
    """

    def __init__(self, *, max_requests: int, max_uploads: int, active: int) -> None:
        self.max_requests = max_requests
        self.max_uploads = max_uploads
        self.active = active
        self.requests = 0
        """Places taken now: from before the first byte of the body to after the last byte of the answer."""
        self.uploads = 0
        """Bodies being received now."""
        self._seconds_per_picture = 1.0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Holds a place; raises ``UnavailableProblem`` when all are taken."""
        if self.requests >= self.max_requests:
            raise self._overloaded(f"{self.max_requests} pictures are already being worked on")
        self.requests += 1
        try:
            yield
        finally:
            self.requests -= 1

    @contextmanager
    def upload(self) -> Iterator[None]:
        """Holds one of the uploads; raises ``UnavailableProblem`` when all are taken."""
        if self.uploads >= self.max_uploads:
            raise self._overloaded(f"{self.max_uploads} uploads are already being received")
        self.uploads += 1
        try:
            yield
        finally:
            self.uploads -= 1

    def note(self, seconds: float) -> None:
        """Tells how long one picture kept a compute thread busy; steers ``Retry-After``."""
        self._seconds_per_picture += 0.1 * (seconds - self._seconds_per_picture)

    def retry_after(self) -> int:
        """Whole seconds until a place is likely to be free: 1 to ``MAX_RETRY_SECONDS``."""
        # Half of what waits now: by then half of the places are free, if nobody else comes.
        expected = self.requests * self._seconds_per_picture / self.active / 2
        return max(1, min(MAX_RETRY_SECONDS, math.ceil(expected)))

    def _overloaded(self, reason: str) -> UnavailableProblem:
        seconds = self.retry_after()
        return UnavailableProblem(
            f"The service is busy: {reason}. Try again in {seconds} seconds.",
            code="overloaded",
            retry_after=seconds,
        )
