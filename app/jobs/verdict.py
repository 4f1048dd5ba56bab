"""What a failed task means for its job: over, or once more."""

from __future__ import annotations

from dataclasses import dataclass

from app.imaging.picture import ImagingError
from app.inference.errors import InferenceError, UnknownModelError, UnknownScaleError
from app.storage import MissingObjectError, StorageError


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do about one error."""

    code: str
    detail: str
    """For people: what they can change."""
    tries: int = 1
    """The task is begun at most so often before its job fails with code and detail."""
    wait_seconds: float = 0.0
    """Before the next try; twice as long before each further one."""
    log: bool = False
    """Nobody foresaw it: the log gets the traceback."""


class ModelChangedError(Exception):
    """The worker has the job's model in another version only."""


_STORAGE = {
    "storage_full": "The service's storage is full. Try again later.",
    "storage_unavailable": "The service's storage did not answer for minutes. Try again later.",
}

_KINDS: tuple[tuple[tuple[type[BaseException], ...], Verdict], ...] = (
    (
        (UnknownModelError, UnknownScaleError, ModelChangedError),
        Verdict(
            "model_changed",
            "The model was exchanged while the picture waited or was computed. Send the picture again.",
            tries=8,  # about two minutes: in a rolling update other workers have it still
            wait_seconds=1,
        ),
    ),
    (
        (MissingObjectError,),
        Verdict(
            "storage_lost",
            "A part of the picture is no longer stored. Send the picture again.",
            tries=3,
            wait_seconds=1,
            log=True,
        ),
    ),
    (
        (TimeoutError,),
        Verdict(
            "timed_out",
            "A part of the picture took much longer than it may, three times. Try a smaller scale or another format.",
            tries=3,
            wait_seconds=2,
        ),
    ),
    (
        (MemoryError, OSError),
        Verdict(
            "out_of_resources",
            "The service ran out of memory, disk or files over this picture. Try again later, or a smaller scale.",
            tries=4,
            wait_seconds=2,
            log=True,
        ),
    ),
    (
        (BaseException,),
        Verdict(
            "internal_error",
            "The service failed on this picture. Try again; if it stays, report the job's id.",
            tries=3,
            wait_seconds=1,
            log=True,
        ),
    ),
)
"""What is not told by the error itself; the first that fits."""


def judge(error: BaseException) -> Verdict:
    """Every error gets a verdict."""
    if isinstance(error, ImagingError):
        return Verdict(error.code, error.message)
    if isinstance(error, StorageError):
        return Verdict(error.code, _STORAGE[error.code], tries=10, wait_seconds=1)  # about ten minutes
    if isinstance(error, InferenceError) and not isinstance(error, UnknownModelError | UnknownScaleError):
        return Verdict(error.code, error.message, tries=4, wait_seconds=2)
    return next(verdict for kinds, verdict in _KINDS if isinstance(error, kinds))
