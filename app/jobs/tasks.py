"""What a worker takes from the queue."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["prepare", "strip", "assemble", "tiles", "pack"]

_KINDS = "|".join(get_args(Kind))
_FORM = re.compile(rf"(?P<job>job_[A-Za-z0-9_-]+)\.(?P<epoch>\d+)\.(?P<kind>{_KINDS})\.(\d+)\.(\d+)")

ALLOWED_SECONDS: dict[Kind, float] = {
    "prepare": 900,
    "strip": 600,
    "assemble": 4 * 3600,
    "tiles": 4 * 3600,
    "pack": 4 * 3600,
}
"""A task that takes longer is stopped and tried again: far above what any of them takes on a slow machine, and
bounded, so that a call that hangs does not hold a worker for ever."""


@dataclass(frozen=True, slots=True)
class Task:
    """One piece of a job."""

    id: str
    """``JOB.EPOCH.KIND.PICTURE.UNIT``."""
    job: str
    epoch: int
    kind: Kind
    picture: int
    unit: int
    """Which strip; 0 for the other kinds."""


def parse_task(text: str) -> Task:
    """The task of an id; raises ValueError for anything else."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError(f"not a task: {text!r}")
    kind: Kind = found["kind"]  # type: ignore[assignment]
    return Task(text, found["job"], int(found["epoch"]), kind, int(found[4]), int(found[5]))
