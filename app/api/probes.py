"""``/livez`` and ``/readyz``, for whatever watches the process, and ``/v1``, for whoever wants to know what
there is.
"""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from app import __version__
from app.api.problems import HostNotAllowedProblem, InternalProblem, UnavailableProblem, declare
from app.api.service import Service, service_of

router = APIRouter()


class Alive(BaseModel):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Ready(BaseModel):
    """Pictures are taken. Load is told here and never turns the probe red."""

    status: Literal["ready"] = "ready"
    requests: int = Field(description="Pictures being worked on, from reception to the end of the answer.")
    max_requests: int
    uploads: int = Field(description="Bodies being received.")
    max_uploads: int


class LimitsDocument(BaseModel):
    """What is taken at most."""

    max_body_bytes: int
    max_input_pixels: int
    sync_max_output_pixels: int = Field(description="Pixels of a result.")


class Discovery(BaseModel):
    """Where everything is."""

    name: Literal["chetko"] = "chetko"
    version: str
    links: dict[str, str] = Field(description="Name of the call -> its address.")
    limits: LimitsDocument


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
    return Ready(
        requests=admission.requests,
        max_requests=admission.max_requests,
        uploads=admission.uploads,
        max_uploads=admission.max_uploads,
    )


@router.get(
    "/v1",
    tags=["service"],
    operation_id="service-discover",
    summary="What is here?",
    responses=declare(HostNotAllowedProblem, InternalProblem),
)
async def discover(service: Annotated[Service, Depends(service_of)]) -> Discovery:
    """Addresses and limits."""
    settings = service.settings
    return Discovery(
        version=__version__,
        links={
            "upscale": "/v1/upscale",
            "models": "/v1/models",
            "openapi": "/openapi.json",
            "live": "/livez",
            "ready": "/readyz",
        },
        limits=LimitsDocument(
            max_body_bytes=settings.max_body_bytes,
            max_input_pixels=settings.max_input_pixels,
            sync_max_output_pixels=settings.sync_max_output_pixels,
        ),
    )
