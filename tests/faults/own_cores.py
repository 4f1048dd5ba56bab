"""Whether two cores are two: those of a virtual machine may share one, and then nothing takes half the time on both."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from benchmarks.apart import Apart
from benchmarks.ways import Bare

_MODEL = "fast"
_ROUNDS, _SECONDS = 3, 6.0


class Pinned(Bare):
    """A model alone, on one thread of one core."""

    def __init__(self, core: int) -> None:
        os.sched_setaffinity(0, {core})
        super().__init__(_MODEL, 4)
        self.choose(1, 0)

    def rate(self) -> float:
        """Output pixels a second."""
        return self.piece(_SECONDS).rate


def share_of_both(first: int, second: int) -> float:
    """The time that both cores take for what ``first`` does alone, with nothing but a model to run: 0.5 of cores that
    share nothing. Half a minute."""
    alone, together = 0.0, 0.0
    with Apart(Pinned, first) as one, Apart(Pinned, second) as other, ThreadPoolExecutor(2) as threads:
        for _ in range(_ROUNDS):
            alone += one("rate")
            both = [threads.submit(core, "rate") for core in (one, other)]
            together += sum(rate.result() for rate in both)
    return alone / together
