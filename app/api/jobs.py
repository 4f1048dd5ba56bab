"""``/v1/jobs``: pictures that take longer than a request should, and many of them at once."""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import Annotated, Any, BinaryIO, Literal

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.responses import Response, StreamingResponse

from app.api.callers import caller_of
from app.api.file_names import content_disposition
from app.api.job_document import JobDocument, JobList, document_of, name_of_result
from app.api.options import UpscaleQuery
from app.api.prefer import preference_of
from app.api.problems import (
    BodyTooLargeProblem,
    BrokenPictureProblem,
    CrossSiteRequestProblem,
    FormatCannotHoldProblem,
    HostNotAllowedProblem,
    IdempotencyBusyProblem,
    IdempotencyConflictProblem,
    InternalProblem,
    InvalidBodyProblem,
    InvalidOptionProblem,
    JobExpiredProblem,
    JobNotFinishedProblem,
    ListingNeedsKeyProblem,
    NoTilesProblem,
    PictureTooLargeProblem,
    RangeProblem,
    RateLimitedProblem,
    SourceAddressProblem,
    StorageUnavailableProblem,
    UnavailableProblem,
    UnknownJobProblem,
    UnknownModelProblem,
    UnknownScaleProblem,
    UnknownUploadProblem,
    UnsupportedPictureProblem,
    UploadIncompleteProblem,
    declare,
)
from app.api.service import Service, service_of
from app.api.spool import open_spool
from app.api.stored_response import StoredResponse
from app.api.submission import Received, jobs_of, look, reserved, submit
from app.api.uploads import upload_for_job
from app.imaging.formats import FORMATS
from app.imaging.pyramid import TILE
from app.inference.course import check_options
from app.jobs import Event, Job, Result, Webhook
from app.jobs.downloads import download
from app.jobs.egress import Gate
from app.storage import MissingObjectError

router = APIRouter(tags=["jobs"])

MAX_SOURCES = 100
"""Pictures in one job: their names and states are one document."""
HEARTBEAT_SECONDS = 15.0
_UPLOAD_KEPT_SECONDS = 3600.0

_ALWAYS = (CrossSiteRequestProblem, HostNotAllowedProblem, InternalProblem, UnavailableProblem)

JobId = Annotated[str, Path(max_length=64, description="The id that the job was made with.", examples=["job_b2l0dG1h"])]


class SourceOfJob(BaseModel):
    """Where a picture comes from: exactly one of the three."""

    model_config = ConfigDict(extra="forbid")

    upload_id: str | None = Field(None, max_length=64, description="Of `POST /v1/uploads`, with the file put there.")
    url: str | None = Field(None, max_length=2000, description="A public http or https address.")
    base64: str | None = Field(None, description="The file itself.")
    name: str | None = Field(None, max_length=255, description="What the picture is called; its result is named so.")

    @model_validator(mode="after")
    def _one(self) -> SourceOfJob:
        if sum(each is not None for each in (self.upload_id, self.url, self.base64)) != 1:
            raise ValueError("must have exactly one of upload_id, url and base64")
        return self


class JobRequest(BaseModel):
    """What is to be done."""

    model_config = ConfigDict(extra="forbid")

    source: SourceOfJob | None = Field(None, description="The picture; or else `sources`.")
    sources: list[SourceOfJob] | None = Field(
        None, min_length=1, max_length=MAX_SOURCES, description="Several pictures; the result is a ZIP of all."
    )
    options: UpscaleQuery = Field(default_factory=UpscaleQuery, description="As in the query of `POST /v1/upscale`.")
    priority: Literal["interactive", "batch"] = Field(
        "interactive", description="batch stands back behind everything that somebody waits for."
    )
    webhook_url: str | None = Field(None, max_length=2000, description="Is told when the job ends, signed.")
    webhook_events: list[Literal["succeeded", "failed", "cancelled"]] | None = Field(
        None, description="Which ends are told; all without it."
    )

    @model_validator(mode="after")
    def _one(self) -> JobRequest:
        if (self.source is None) == (self.sources is None):
            raise ValueError("must have exactly one of source and sources")
        return self


_ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {
        "description": "The job, which is on its way.",
        "headers": {
            "Location": {"description": "Address of the job.", "schema": {"type": "string"}},
            "Preference-Applied": {"description": "What of Prefer was followed.", "schema": {"type": "string"}},
        },
    }
}


@router.post(
    "/v1/jobs",
    operation_id="jobs-create",
    summary="Have pictures enlarged in the background",
    status_code=202,
    responses={
        **_ACCEPTED,
        **declare(
            InvalidBodyProblem,
            BodyTooLargeProblem,
            PictureTooLargeProblem,
            UnsupportedPictureProblem,
            BrokenPictureProblem,
            FormatCannotHoldProblem,
            UnknownModelProblem,
            UnknownScaleProblem,
            UnknownUploadProblem,
            UploadIncompleteProblem,
            IdempotencyBusyProblem,
            IdempotencyConflictProblem,
            RateLimitedProblem,
            SourceAddressProblem,
            StorageUnavailableProblem,
            *_ALWAYS,
        ),
    },
)
async def create_job(
    body: JobRequest, request: Request, response: Response, service: Annotated[Service, Depends(service_of)]
) -> JobDocument:
    """Makes a job of one picture, or of several whose results come as one ZIP.

    The answer is the job as it stands; `links.events` tells how it goes on. With `Idempotency-Key` a request may be
    repeated without making a second job.
    """
    jobs = jobs_of(service)
    registry = service.backend.registry
    check_options(body.options.options(), registry)
    webhook = _webhook(service, body)
    sources = body.sources if body.sources is not None else [body.source] if body.source is not None else []
    async with AsyncExitStack() as held:
        reservation = await held.enter_async_context(reserved(service, request))
        received = []
        for source in sources:
            picture = await _fetch(service, request, source)
            held.callback(service.disk.submit, picture.file.close)
            received.append(picture)
        looked = await look(service, [each.file for each in received], body.options, registry)
        job = await submit(
            service,
            request,
            received,
            looked,
            query=body.options,
            reservation=reservation,
            priority=body.priority,
            batch=body.sources is not None,
            webhook=webhook,
        )
    preference = preference_of(request.headers)
    if preference.wait is not None:
        job = await jobs.wait(job.id, preference.wait) or job
    for name, value in _accepted_headers(job, preference.applied).items():
        response.headers[name] = value
    return document_of(job)


def _webhook(service: Service, body: JobRequest) -> Webhook | None:
    if body.webhook_url is None:
        return None
    if not jobs_of(service).sends_webhooks:
        raise InvalidBodyProblem("This service sends no webhooks: its operator has set no CHETKO_WEBHOOK_SECRET.")
    Gate(service.settings.egress_allowed_hosts).parse(body.webhook_url)
    return Webhook(body.webhook_url, tuple(body.webhook_events or ()))


async def _fetch(service: Service, request: Request, source: SourceOfJob) -> Received:
    """The picture as a file; whoever asked closes it."""
    if source.upload_id is not None:
        place = await upload_for_job(service, caller_of(request), source.upload_id, time.time() + _UPLOAD_KEPT_SECONDS)
        storage = jobs_of(service).storage
        file = await asyncio.get_running_loop().run_in_executor(service.disk, storage.open, place.key)
        return Received(file, source.name or place.name)
    if source.url is not None:
        return await _download(service, source.url, source.name)
    text = source.base64 or ""
    return Received(await asyncio.get_running_loop().run_in_executor(service.disk, _decoded, text), source.name)


async def _download(service: Service, url: str, name: str | None) -> Received:
    settings = service.settings
    file = open_spool()
    try:
        found = await download(
            Gate(settings.egress_allowed_hosts),
            url,
            limit_bytes=settings.max_body_bytes,
            seconds=settings.download_seconds,
            sink=file.write,
        )
    except BaseException:
        service.disk.submit(file.close)
        raise
    return Received(file, name or found.name)


def _decoded(text: str) -> BinaryIO:
    file = open_spool()
    try:
        file.write(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError) as error:
        file.close()
        raise InvalidBodyProblem("source.base64 is not base64: send the file's bytes so encoded.") from error
    return file


@router.get(
    "/v1/jobs",
    operation_id="jobs-list",
    summary="List own jobs",
    responses=declare(InvalidOptionProblem, ListingNeedsKeyProblem, *_ALWAYS),
)
async def list_jobs(
    request: Request,
    service: Annotated[Service, Depends(service_of)],
    limit: Annotated[int, Query(ge=1, le=100, description="Most jobs in the answer.", examples=[20])] = 20,
    cursor: Annotated[
        str | None, Query(max_length=200, description="`next` of the page before.", examples=["MTc2NDAzNTM"])
    ] = None,
) -> JobList:
    """The caller's jobs, the newest first."""
    caller = caller_of(request)
    caller.check_listing()
    try:
        found, following = await jobs_of(service).list(caller.owner, cursor=cursor, limit=limit)
    except ValueError:
        raise InvalidOptionProblem("cursor must be the `next` of an earlier page, as it is.") from None
    return JobList(jobs=[document_of(job) for job in found], next=following)


@router.get(
    "/v1/jobs/{job_id}",
    operation_id="jobs-get",
    summary="Tell how a job stands",
    responses=declare(UnknownJobProblem, *_ALWAYS),
)
async def get_job(
    job_id: JobId, request: Request, response: Response, service: Annotated[Service, Depends(service_of)]
) -> JobDocument:
    """The job as it stands now."""
    response.headers["Cache-Control"] = "no-store"
    return document_of(await own_job(service, request, job_id))


@router.delete(
    "/v1/jobs/{job_id}",
    operation_id="jobs-delete",
    summary="Cancel a job, or remove a finished one",
    status_code=204,
    responses=declare(UnknownJobProblem, *_ALWAYS),
)
async def delete_job(job_id: JobId, request: Request, service: Annotated[Service, Depends(service_of)]) -> Response:
    """Stops what is computed and removes everything that is stored of the job.

    A job that was not finished stays visible as `cancelled` for a while; a finished one is forgotten.
    """
    await own_job(service, request, job_id)
    await jobs_of(service).cancel(job_id, remove=True)
    return Response(status_code=204)


@router.get(
    "/v1/jobs/{job_id}/events",
    operation_id="jobs-events",
    summary="Watch a job",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "Server-sent events: snapshot, change (any number), end. The data is the job.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        **declare(UnknownJobProblem, *_ALWAYS),
    },
)
async def watch_job(job_id: JobId, request: Request, service: Annotated[Service, Depends(service_of)]) -> Response:
    """The job as it stands, then every change, until its end. A watcher that was cut off calls again: `Last-Event-ID`
    is not needed, since the first event holds everything.
    """
    await own_job(service, request, job_id)
    events = jobs_of(service).events(job_id)
    return StreamingResponse(
        _stream(service, events),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _stream(service: Service, events: AsyncIterator[Event]) -> AsyncIterator[str]:
    """Ends with the job, when the client goes, and when the service stops (the client then finds another one)."""
    loop = asyncio.get_running_loop()
    said = loop.time()
    coming = asyncio.ensure_future(anext(events))
    try:
        while True:
            await asyncio.wait({coming}, timeout=0.5)
            if coming.done():
                try:
                    event = coming.result()
                except StopAsyncIteration:
                    return
                yield f"id: {event.id}\nevent: {event.name}\ndata: {document_of(event.job).model_dump_json()}\n\n"
                said = loop.time()
                coming = asyncio.ensure_future(anext(events))
            elif service.state == "draining":
                return
            elif loop.time() - said >= HEARTBEAT_SECONDS:
                yield ": still here\n\n"
                said = loop.time()
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)
        await events.aclose()  # type: ignore[attr-defined]  # it is a generator


@router.get(
    "/v1/jobs/{job_id}/result",
    operation_id="jobs-result",
    summary="Fetch the result",
    response_class=StoredResponse,
    status_code=200,
    responses={
        200: {
            "description": "The finished file.",
            "content": {
                media_type: {"schema": {"type": "string", "format": "binary"}}
                for media_type in dict.fromkeys([*(form.media_type for form in FORMATS.values()), "application/zip"])
            },
        },
        206: {"description": "The part that Range asks for."},
        304: {"description": "The client has it already (If-None-Match)."},
        **declare(
            UnknownJobProblem,
            InvalidOptionProblem,
            JobNotFinishedProblem,
            JobExpiredProblem,
            RangeProblem,
            StorageUnavailableProblem,
            *_ALWAYS,
        ),
    },
)
async def get_result(
    job_id: JobId,
    request: Request,
    service: Annotated[Service, Depends(service_of)],
    inline: Annotated[bool, Query(description="Shown by a browser instead of saved.")] = False,
) -> Response:
    """The finished file, whole or the range that is asked for, under a name made of the source's."""
    job = await own_job(service, request, job_id)
    return result_response(service, job, request, inline=inline)


class TilesDocument(BaseModel):
    """What a viewer needs to know to ask for tiles."""

    width: int = Field(description="Of the result, in pixels.")
    height: int
    tile: int = Field(description="Edge of a tile; those at the right and bottom are smaller.")
    levels: int = Field(description="Level 0 is the full size, each next one half of it.")
    before: bool = Field(description="Whether there are tiles of the source, enlarged bicubically, too.")


@router.get(
    "/v1/jobs/{job_id}/tiles",
    operation_id="jobs-tiles",
    summary="Describe the tiles of a large result",
    responses=declare(
        UnknownJobProblem,
        NoTilesProblem,
        JobNotFinishedProblem,
        JobExpiredProblem,
        StorageUnavailableProblem,
        *_ALWAYS,
    ),
)
async def describe_tiles(
    job_id: JobId, request: Request, service: Annotated[Service, Depends(service_of)]
) -> TilesDocument:
    """Only results above 16 megapixels have tiles: a viewer takes smaller ones as they are."""
    told = _tiles_of(await own_job(service, request, job_id))
    try:
        levels = await asyncio.get_running_loop().run_in_executor(service.disk, jobs_of(service).tiles.levels, told)
    except MissingObjectError:
        raise _no_tiles() from None
    return TilesDocument(width=told["width"], height=told["height"], tile=TILE, levels=levels, before=True)


@router.get(
    "/v1/jobs/{job_id}/tiles/{which}/{level}/{column}/{row}",
    operation_id="jobs-tile",
    summary="Fetch one tile",
    response_class=Response,
    responses={
        200: {
            "description": "The tile.",
            "content": {
                media_type: {"schema": {"type": "string", "format": "binary"}}
                for media_type in ("image/jpeg", "image/webp")
            },
        },
        **declare(
            UnknownJobProblem,
            NoTilesProblem,
            InvalidOptionProblem,
            JobNotFinishedProblem,
            JobExpiredProblem,
            StorageUnavailableProblem,
            *_ALWAYS,
        ),
    },
)
async def get_tile(
    job_id: JobId,
    *,
    which: Annotated[Literal["result", "before"], Path(description="Of the result, or of the source enlarged.")],
    level: Annotated[int, Path(ge=0, le=40, description="0 is the full size.", examples=[0])],
    column: Annotated[int, Path(ge=0, le=10**7, description="From the left.", examples=[0])],
    row: Annotated[int, Path(ge=0, le=10**7, description="From the top.", examples=[0])],
    request: Request,
    service: Annotated[Service, Depends(service_of)],
) -> Response:
    """One tile as JPEG, or WebP where the result is transparent."""
    told = _tiles_of(await own_job(service, request, job_id))
    try:
        data, media_type = await asyncio.get_running_loop().run_in_executor(
            service.disk, lambda: jobs_of(service).tiles.tile(told, which, level, column, row)
        )
    except IndexError:
        raise NoTilesProblem(f"There is no tile {column}, {row} on level {level}.") from None
    except MissingObjectError:
        raise _no_tiles() from None
    # A job's result never changes, so nor do its tiles; the job's owner may remove it, so they are not kept for long.
    return Response(data, media_type=media_type, headers={"Cache-Control": "private, max-age=600"})


def _tiles_of(job: Job) -> Mapping[str, Any]:
    check_result(job)
    if job.tiles is None:
        raise NoTilesProblem("The result is small enough to be shown as it is, and has no tiles.")
    return job.tiles


def _no_tiles() -> NoTilesProblem:
    return NoTilesProblem("The tiles of this job were removed.")


def result_response(service: Service, job: Job, request: Request, *, inline: bool = False) -> StoredResponse:
    """The result of a job; raises the problem of one that has none."""
    result = check_result(job)
    headers = {
        "Content-Disposition": content_disposition(name_of_result(job), inline=inline),
        # Kept by the client, but asked for again each time: the owner may have deleted it.
        "Cache-Control": "private, no-cache",
    }
    if result.model is not None:
        headers["X-Chetko-Model"] = result.model
    if job.notices:
        headers["X-Chetko-Notice"] = ", ".join(job.notices)
    return StoredResponse(
        jobs_of(service).storage,
        result.key,
        size=result.bytes,
        etag=result.sha256,
        media_type=result.media_type,
        headers=headers,
        request=request.headers,
        disk=service.disk,
        idle_seconds=service.settings.send_idle_seconds,
    )


def check_result(job: Job) -> Result:
    """The job's result; raises the problem of a job that has none."""
    if job.state == "expired":
        raise JobExpiredProblem("The result was kept for its time and is gone. Send the picture again.")
    if job.state == "failed" and job.error is not None:
        raise JobNotFinishedProblem(f"The job failed: {job.error.detail}", code="job_failed")
    if job.state == "cancelled":
        raise JobNotFinishedProblem("The job was cancelled and has no result.", code="job_cancelled")
    if job.result is None:
        raise JobNotFinishedProblem(
            f"The job is {job.state} and has no result yet. Watch /v1/jobs/{job.id}/events.",
            headers={"Retry-After": str(max(1, min(60, round(job.seconds_left or 2))))},
        )
    return job.result


async def own_job(service: Service, request: Request, job_id: str) -> Job:
    """The caller's job; raises UnknownJobProblem for others' and unknown ones alike."""
    job = await jobs_of(service).get(job_id)
    if job is None or job.owner != caller_of(request).owner:
        raise UnknownJobProblem("There is no such job: its id is misspelt, or it is long gone.")
    return job


def accepted(job: Job, applied: dict[str, str]) -> Response:
    """202 with the job's document."""
    return Response(
        document_of(job).model_dump_json(),
        status_code=202,
        media_type="application/json",
        headers=_accepted_headers(job, applied),
    )


def _accepted_headers(job: Job, applied: dict[str, str]) -> dict[str, str]:
    return {"Location": f"/v1/jobs/{job.id}", "Cache-Control": "no-store", **applied}
