"""``GET /v1`` and ``GET /v1/limits``: what is here, and what is taken at most."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from app import __version__
from app.api.callers import caller_of
from app.api.problems import HostNotAllowedProblem, InternalProblem, declare
from app.api.service import Service, service_of

router = APIRouter(tags=["service"])


class LimitsDocument(BaseModel):
    """What is taken at most."""

    max_body_bytes: int = Field(description="Bytes of one request's body.", examples=[50_000_000])
    max_input_pixels: int = Field(description="Pixels of a picture that is sent.", examples=[100_000_000])
    sync_max_output_pixels: int = Field(
        description="Pixels of a result that one request answers.", examples=[16_000_000]
    )
    max_upload_bytes: int = Field(description="Bytes of a file put into an upload.", examples=[1_000_000_000])
    upload_seconds: int = Field(description="For which an upload is kept that no job uses.", examples=[86_400])


class CallerLimits(LimitsDocument):
    """What is taken at most, and what the caller's key may use. Without a key its limits are null."""

    requests_per_minute: int | None = Field(description="Requests of this key in a minute.", examples=[600])
    megapixels_per_minute: int | None = Field(
        description="Output megapixels of this key in a minute.", examples=[2_000]
    )
    max_concurrent: int | None = Field(description="Pictures of this key worked on at once.", examples=[16])
    max_jobs: int | None = Field(description="Jobs of this key that may be unfinished at once.", examples=[100])
    storage_bytes: int | None = Field(
        description="Bytes that uploads, sources and results of this key may take.", examples=[10_485_760_000]
    )


class Authentication(BaseModel):
    """Whether a key is needed, and whether one was shown."""

    required: bool = Field(description="Whether calls need a key.")
    signed_in: bool = Field(description="Whether this request showed a valid key or session.")
    scopes: list[Literal["read", "write", "evaluate"]] = Field(
        description="What this caller may do.", examples=[["read", "write", "evaluate"]]
    )
    may_list: bool = Field(description="Whether `GET /v1/jobs` answers this caller.")


class Discovery(BaseModel):
    """Where everything is."""

    name: Literal["chetko"] = "chetko"
    version: str = Field(examples=[__version__])
    links: dict[str, str] = Field(
        description="Name of the call -> its address.", examples=[{"upscale": "/v1/upscale", "models": "/v1/models"}]
    )
    authentication: Authentication
    limits: LimitsDocument


@router.get(
    "/v1",
    operation_id="service-discover",
    summary="What is here?",
    responses=declare(HostNotAllowedProblem, InternalProblem),
)
async def discover(request: Request, service: Annotated[Service, Depends(service_of)]) -> Discovery:
    """Addresses, limits, and whether a key is needed."""
    caller = caller_of(request)
    return Discovery(
        version=__version__,
        links={
            "upscale": "/v1/upscale",
            "jobs": "/v1/jobs",
            "uploads": "/v1/uploads",
            "evaluations": "/v1/evaluations",
            "models": "/v1/models",
            "limits": "/v1/limits",
            "session": "/v1/session",
            "docs": "/docs",
            "openapi": "/openapi.json",
            "live": "/livez",
            "ready": "/readyz",
        },
        authentication=Authentication(
            required=service.access.required,
            signed_in=caller.key is not None,
            scopes=list(caller.scopes),
            may_list=caller.may_list,
        ),
        limits=LimitsDocument(**_limits(service)),
    )


@router.get(
    "/v1/limits",
    operation_id="service-limits",
    summary="What is taken at most?",
    responses=declare(HostNotAllowedProblem, InternalProblem),
)
async def limits(request: Request, service: Annotated[Service, Depends(service_of)]) -> CallerLimits:
    """All limits that apply to the caller. What is left of a key's own limits is in each answer's RateLimit header."""
    caller = caller_of(request)
    return CallerLimits(
        **_limits(service),
        requests_per_minute=caller.requests_per_minute,
        megapixels_per_minute=caller.megapixels_per_minute,
        max_concurrent=caller.max_concurrent,
        max_jobs=caller.max_jobs,
        storage_bytes=caller.storage_bytes,
    )


def _limits(service: Service) -> dict[str, int]:
    settings = service.settings
    return {
        "max_body_bytes": settings.max_body_bytes,
        "max_input_pixels": settings.max_input_pixels,
        "sync_max_output_pixels": settings.sync_max_output_pixels,
        "max_upload_bytes": settings.max_upload_bytes,
        "upload_seconds": int(settings.upload_hours * 3600),
    }
