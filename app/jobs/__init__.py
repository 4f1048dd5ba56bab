"""Long work: pictures that are too large for one request, many pictures at once, any number of workers.

Redis holds what is to be done (through arq) and how far it is; storage holds the bytes. docs/jobs.md tells the life
of a job. Only this package knows arq.
"""

from app.jobs import places
from app.jobs.connection import open_redis
from app.jobs.errors import (
    IdempotencyBusyError,
    IdempotencyConflictError,
    JobsError,
    QueueUnavailableError,
    QuotaError,
)
from app.jobs.jobs import Jobs
from app.jobs.model import (
    FINAL_STATES,
    Event,
    Failure,
    Health,
    Idempotency,
    Job,
    NewJob,
    Result,
    Source,
    State,
    Webhook,
    new_id,
    speed_name,
)

__all__ = [
    "FINAL_STATES",
    "Event",
    "Failure",
    "Health",
    "Idempotency",
    "IdempotencyBusyError",
    "IdempotencyConflictError",
    "Job",
    "Jobs",
    "JobsError",
    "NewJob",
    "QueueUnavailableError",
    "QuotaError",
    "Result",
    "Source",
    "State",
    "Webhook",
    "new_id",
    "open_redis",
    "places",
    "speed_name",
]
