"""``POST /v1/jobs/{id}/share``, ``POST /v1/uploads/{id}/share`` and ``GET /v1/shared/{token}``: a result, or a picture
of results side by side, for whoever gets the link.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from app.api.callers import caller_of, queue_needed
from app.api.file_names import content_disposition
from app.api.jobs import JobId, check_result, own_job, result_response
from app.api.problems import (
    BrokenPictureProblem,
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
    UnknownUploadProblem,
    UnsupportedPictureProblem,
    UploadIncompleteProblem,
    declare,
)
from app.api.service import Service, service_of
from app.api.share_links import Shown
from app.api.stored_response import StoredResponse
from app.api.submission import jobs_of
from app.api.upload_store import PREFIX as UPLOAD_PREFIX
from app.api.upload_store import UploadPlace
from app.api.uploads import UploadId, complete_upload, storage_needed, uploads_of
from app.imaging.formats import FORMATS
from app.jobs.file_names import picture_name

router = APIRouter()


class ShareDocument(BaseModel):
    """A link to a picture."""

    url: str = Field(
        description="Path on this service; whoever has it sees the picture, and nothing else.",
        examples=["/v1/shared/WyJqb2JfYjJsMGRHMWgiLDE3NjQwNDMyMDBd.c2lnbmF0dXJl"],
    )
    expires_at: datetime = Field(description="When it ends: with the picture.")


@router.post(
    "/v1/jobs/{job_id}/share",
    operation_id="jobs-share",
    tags=["jobs"],
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
    return _link(links.token(Shown(job.id), until), until)


@router.post(
    "/v1/uploads/{upload_id}/share",
    operation_id="uploads-share",
    tags=["uploads"],
    summary="Make a link to an uploaded picture",
    responses=declare(
        UnknownUploadProblem,
        UploadIncompleteProblem,
        UnsupportedPictureProblem,
        BrokenPictureProblem,
        UnknownJobProblem,
        JobNotFinishedProblem,
        JobExpiredProblem,
        InvalidOptionProblem,
        CrossSiteRequestProblem,
        HostNotAllowedProblem,
        InternalProblem,
        UnavailableProblem,
        StorageUnavailableProblem,
    ),
)
async def share_upload(
    upload_id: UploadId,
    request: Request,
    response: Response,
    service: Annotated[Service, Depends(service_of)],
    job: Annotated[
        str | None,
        Query(
            max_length=64,
            description="Id of a job of yours: the link ends with that job's result, if not before.",
            examples=["job_b2l0dG1h"],
        ),
    ] = None,
) -> ShareDocument:
    """A link that shows an uploaded PNG to everybody who has it, without a key, until the upload expires or is deleted:
    for a picture of several results side by side. The upload cannot be changed any more then.
    """
    place = await complete_upload(service, caller_of(request), upload_id)
    until = place.expires
    if job is not None:
        found = await own_job(service, request, job)
        check_result(found)
        if found.expires is not None:
            until = min(until, found.expires.timestamp())
    await asyncio.get_running_loop().run_in_executor(service.disk, _check_png, service, place)
    links = await service.share_links()
    with queue_needed():
        await uploads_of(service).share(place)
    response.headers["Cache-Control"] = "no-store"
    return _link(links.token(Shown(place.id, job), until), until)


def _check_png(service: Service, place: UploadPlace) -> None:
    """Raises UnsupportedPictureProblem for what is no PNG. Blocks. Browsers are told that it is one, whatever it is."""
    with storage_needed(), uploads_of(service).storage.open(place.key) as file:
        header = service.decoder.read_header(file)
    if header.format != "png":
        raise UnsupportedPictureProblem(f"Only PNG can be shared by a link, and this is {header.format}.")


def _link(token: str, until: float) -> ShareDocument:
    return ShareDocument(url=f"/v1/shared/{token}", expires_at=datetime.fromtimestamp(until, UTC))


@router.get(
    "/v1/shared/{token}",
    operation_id="jobs-shared",
    tags=["jobs"],
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
    token: Annotated[
        str,
        Path(
            description="From `POST /v1/jobs/{id}/share` or `POST /v1/uploads/{id}/share`.",
            max_length=300,
            examples=["WyJqb2Jf"],
        ),
    ],
    request: Request,
    service: Annotated[Service, Depends(service_of)],
    download: Annotated[bool, Query(description="Saved by a browser instead of shown.")] = False,
) -> Response:
    """The picture of a link, for anybody. Nothing else of the job can be seen with it."""
    shown = (await service.share_links()).shown(token)
    if shown is None:
        raise _nowhere()
    named = shown.while_job or shown.id
    if not named.startswith(UPLOAD_PREFIX):
        job = await jobs_of(service).get(named)
        if job is None or job.state != "succeeded":
            raise _nowhere()
        if shown.while_job is None:
            return result_response(service, job, request, inline=not download)
    store = uploads_of(service)
    with queue_needed():
        place = await store.shared(shown.id)
    if place is None:
        raise _nowhere()
    return StoredResponse(
        store.storage,
        place.key,
        size=place.bytes,
        etag=place.sha256 or place.id,
        media_type="image/png",
        headers={
            "Content-Disposition": content_disposition(picture_name(place.name, "png"), inline=not download),
            "Cache-Control": "private, no-cache",
        },
        request=request.headers,
        disk=service.disk,
        idle_seconds=service.settings.send_idle_seconds,
    )


def _nowhere() -> UnknownShareProblem:
    return UnknownShareProblem("This link leads nowhere: it is incomplete, or the picture has expired or was removed.")
