"""``POST /v1/jobs/{id}/share`` and ``GET /v1/shared/{token}``: a result for whoever gets the link."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from app.api.jobs import JobId, own_job, result_response
from app.api.problems import (
    CrossSiteRequestProblem,
    HostNotAllowedProblem,
    InternalProblem,
    InvalidOptionProblem,
    JobExpiredProblem,
    JobNotFinishedProblem,
    RangeProblem,
    StorageUnavailableProblem,
    UnavailableProblem,
    UnknownJobProblem,
    UnknownShareProblem,
    declare,
)
from app.api.service import Service, service_of
from app.api.stored_response import StoredResponse
from app.api.submission import jobs_of
from app.imaging.formats import FORMATS

router = APIRouter(tags=["jobs"])


class ShareDocument(BaseModel):
    """A link to a result."""

    url: str = Field(
        description="Path on this service; whoever has it sees the picture, and nothing else.",
        examples=["/v1/shared/WyJqb2JfYjJsMGRHMWgiLDE3NjQwNDMyMDBd.c2lnbmF0dXJl"],
    )
    expires_at: datetime = Field(description="When it ends: with the result.")


@router.post(
    "/v1/jobs/{job_id}/share",
    operation_id="jobs-share",
    summary="Make a link to the result",
    responses=declare(
        UnknownJobProblem,
        JobNotFinishedProblem,
        JobExpiredProblem,
        CrossSiteRequestProblem,
        HostNotAllowedProblem,
        InternalProblem,
        UnavailableProblem,
    ),
)
async def share_job(
    job_id: JobId, request: Request, response: Response, service: Annotated[Service, Depends(service_of)]
) -> ShareDocument:
    """A link that shows the finished picture to everybody who has it, without a key, until the result expires or the
    job is deleted.
    """
    job = await own_job(service, request, job_id)
    result_response(service, job, request)  # raises the problem of a job that has no result
    links = await service.share_links()
    until = job.expires.timestamp() if job.expires is not None else 0.0
    response.headers["Cache-Control"] = "no-store"
    return ShareDocument(url=f"/v1/shared/{links.token(job.id, until)}", expires_at=datetime.fromtimestamp(until, UTC))


@router.get(
    "/v1/shared/{token}",
    operation_id="jobs-shared",
    summary="Fetch a shared result",
    response_class=StoredResponse,
    status_code=200,
    responses={
        200: {
            "description": "The picture.",
            "content": {
                media_type: {"schema": {"type": "string", "format": "binary"}}
                for media_type in dict.fromkeys([*(form.media_type for form in FORMATS.values()), "application/zip"])
            },
        },
        206: {"description": "The part that Range asks for."},
        304: {"description": "The client has it already (If-None-Match)."},
        **declare(
            UnknownShareProblem,
            InvalidOptionProblem,
            JobExpiredProblem,
            RangeProblem,
            HostNotAllowedProblem,
            InternalProblem,
            UnavailableProblem,
            StorageUnavailableProblem,
        ),
    },
)
async def get_shared(
    token: Annotated[str, Path(description="From `POST /v1/jobs/{id}/share`.", max_length=300, examples=["WyJqb2Jf"])],
    request: Request,
    service: Annotated[Service, Depends(service_of)],
    download: Annotated[bool, Query(description="Saved by a browser instead of shown.")] = False,
) -> Response:
    """The picture of a link, for anybody. Nothing else of the job can be seen with it."""
    job_id = (await service.share_links()).job_id(token)
    job = None if job_id is None else await jobs_of(service).get(job_id)
    if job is None or job.state != "succeeded":
        raise UnknownShareProblem(
            "This link leads nowhere: it is incomplete, or the picture has expired or was removed."
        )
    return result_response(service, job, request, inline=not download)
