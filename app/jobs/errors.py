"""What can go wrong with jobs themselves, as opposed to their pictures."""

from __future__ import annotations


class JobsError(Exception):
    """``code`` is stable, ``message`` is a sentence that says what to do."""

    code = "jobs_error"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class QueueUnavailableError(JobsError):
    """Redis does not answer (HTTP 503); what needs no queue goes on."""

    code = "queue_unavailable"


class IdempotencyBusyError(JobsError):
    """Another request with the same Idempotency-Key is being received (HTTP 409)."""

    code = "idempotency_in_progress"


class QuotaError(JobsError):
    """The owner has as much as it may have (HTTP 429)."""

    code = "quota_exceeded"

    def __init__(self, message: str, *, limit: int, retry_after: int) -> None:
        """``limit``: jobs, or bytes; ``retry_after``: seconds."""
        super().__init__(message)
        self.limit = limit
        self.retry_after = retry_after


class IdempotencyConflictError(JobsError):
    """The Idempotency-Key belongs to another picture or other options (HTTP 422)."""

    code = "idempotency_conflict"
