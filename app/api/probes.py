"""``/livez`` and ``/readyz``, for whatever watches the process."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from app.api.problems import InternalProblem, UnavailableProblem, declare
from app.api.service import Service, service_of

router = APIRouter()


class Alive(BaseModel):
    """The process answers."""

    status: Literal["alive"] = "alive"


class QueueState(BaseModel):
    """What stands behind jobs, some seconds ago. Trouble here turns no probe red: small pictures go on without it."""

    reachable: bool = Field(description="Whether the queue server answers.")
    storage_writable: bool
    workers: int = Field(description="Living ones.")
    queued: int = Field(description="Jobs that no worker has begun.")
    active: int = Field(description="Jobs that are not finished, the queued ones among them.")
    oldest_seconds: float | None = Field(description="Age of the oldest unfinished job, while any is queued.")


class Ready(BaseModel):
    """Pictures are taken. Load is told here and never turns the probe red."""

    status: Literal["ready"] = "ready"
    requests: int = Field(description="Pictures being worked on, from reception to the end of the answer.")
    max_requests: int
    uploads: int = Field(description="Bodies being received.")
    max_uploads: int
    queue: QueueState | None = Field(None, description="null without a queue, and in the first seconds.")


@router.get(
    "/livez",
    tags=["probes"],
    operation_id="probes-livez",
    summary="Is the process up?",
    responses=declare(InternalProblem),
)
async def livez() -> Alive:
    """Answers as long as the event loop turns; looks at nothing else."""
    return Alive()


@router.get(
    "/readyz",
    tags=["probes"],
    operation_id="probes-readyz",
    summary="Does the service take pictures?",
    responses=declare(InternalProblem, UnavailableProblem),
)
async def readyz(service: Annotated[Service, Depends(service_of)]) -> Ready:
    """200 when the models are warm; 503 before that, and while the service is stopping."""
    _ = service.backend
    admission = service.admission
    health = None if service.jobs is None else service.jobs.last_health
    queue = None
    if health is not None:
        queue = QueueState(
            reachable=health.queue_reachable,
            storage_writable=health.storage_writable,
            workers=health.workers,
            queued=health.queued,
            active=health.active,
            oldest_seconds=health.oldest_seconds,
        )
    return Ready(
        queue=queue,
        requests=admission.requests,
        max_requests=admission.max_requests,
        uploads=admission.uploads,
        max_uploads=admission.max_uploads,
    )
