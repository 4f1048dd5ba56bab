"""``POST /v1/upscale``: one picture in, one picture out."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from app.api.callers import charge_pixels, picture_of
from app.api.file_names import content_disposition
from app.api.jobs import accepted, result_response
from app.api.options import NAMES, UpscaleQuery
from app.api.picture_response import PictureResponse
from app.api.prefer import Preference, preference_of
from app.api.problems import (
    PICTURE_SENT,
    ClientGoneProblem,
    FormatCannotHoldProblem,
    IdempotencyBusyProblem,
    IdempotencyConflictProblem,
    InternalProblem,
    InvalidOptionProblem,
    JobFailedProblem,
    RateLimitedProblem,
    StorageUnavailableProblem,
    UnavailableProblem,
    declare,
    of_failure,
)
from app.api.service import Finished, Service, disconnected, service_of
from app.api.spool import IN_MEMORY_BYTES, open_spool
from app.api.submission import IDEMPOTENCY, Received, jobs_of, look, reserved, submit
from app.api.upload import body_of_a_picture, boundary_of, receive_upload
from app.imaging.formats import FORMATS
from app.inference.course import check_options
from app.jobs import Job
from app.jobs.file_names import result_name
from app.telemetry import metrics, traces

router = APIRouter(tags=["pictures"])

PATIENT_SECONDS = 60
"""How long a request that said nothing waits for a job that it did not ask for."""
PATIENT_PIXELS = 16_000_000
"""Results up to here are waited for when CHETKO_SYNC_MAX_OUTPUT_PIXELS is smaller: then the queue only stands in for
this process."""

_PICTURE: dict[int | str, dict[str, Any]] = {
    202: {
        "description": "The job that the picture has become.",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/JobDocument"}}},
        "headers": {
            "Location": {"description": "Address of the job.", "schema": {"type": "string"}},
            "Preference-Applied": {"description": "What of Prefer was followed.", "schema": {"type": "string"}},
        },
    },
    200: {
        "description": "The enlarged picture.",
        "content": {
            media_type: {"schema": {"type": "string", "format": "binary"}}
            for media_type in dict.fromkeys(form.media_type for form in FORMATS.values())
        },
        "headers": {
            "Content-Disposition": {
                "description": "A name to save the picture under, made of the one sent.",
                "schema": {"type": "string"},
            },
            "X-Chetko-Model": {
                "description": "What enlarged it, as name/xSCALE@version; two passes as name/x4+x2@version.",
                "schema": {"type": "string"},
            },
            "X-Chetko-Notice": {
                "description": "What to know about the result, separated by commas: first-frame-only.",
                "schema": {"type": "string"},
            },
            "Server-Timing": {
                "description": "Milliseconds of queue, decode, inference and encode.",
                "schema": {"type": "string"},
            },
        },
    },
}


@router.post(
    "/v1/upscale",
    operation_id="pictures-upscale",
    summary="Enlarge a picture",
    status_code=200,  # FastAPI would look for it in PictureResponse's signature
    response_class=PictureResponse,
    openapi_extra=body_of_a_picture("PNG, JPEG, WebP, AVIF, TIFF, BMP, GIF or HEIC."),
    responses={
        **_PICTURE,
        **declare(
            *PICTURE_SENT,
            FormatCannotHoldProblem,
            IdempotencyBusyProblem,
            IdempotencyConflictProblem,
            RateLimitedProblem,
            InternalProblem,
            JobFailedProblem,
            StorageUnavailableProblem,
            UnavailableProblem,
        ),
    },
)
async def upscale(
    request: Request,
    query: Annotated[UpscaleQuery, Query()],
    service: Annotated[Service, Depends(service_of)],
) -> Response:
    """Enlarges the picture in the part `image` and answers with it, or with the job that it has become.

    Large results become jobs, and so does everything with `Prefer: respond-async`, `Prefer: wait=N` (seconds to wait
    for the result before 202) or `Idempotency-Key`. Everything that the address and the headers show to be wrong is
    answered before the body is read.
    """
    _refuse_repeated(request)
    backend = service.backend
    boundary = boundary_of(request.headers, service.upload_limits)
    options = query.options()
    check_options(options, backend.registry)
    preference = preference_of(request.headers)
    async with AsyncExitStack() as held:
        held.enter_context(service.admission.place())
        await held.enter_async_context(picture_of(request))
        reservation = await held.enter_async_context(reserved(service, request))
        with service.admission.upload(), traces.span("receive"):
            upload = await receive_upload(request.receive, boundary, service.upload_limits, service.disk, NAMES)
        held.callback(service.disk.submit, upload.file.close)
        at_once = service.settings.sync_max_output_pixels
        header = None
        wanted_as_job = preference.respond_async or preference.wait is not None or reservation is not None
        if wanted_as_job or service.jobs is not None:
            looked = await look(service, [upload.file], query, backend.registry)
            if wanted_as_job or looked.output_pixels > at_once:
                received = [Received(upload.file, upload.filename)]
                job = await submit(service, request, received, looked, query=query, reservation=reservation)
                await held.aclose()  # a place is for what is computed here
                return await _answer_job(service, request, job, preference, looked.output_pixels)
            await charge_pixels(request, looked.output_pixels)
            header = looked.headers[0]
        target = open_spool()
        held.callback(service.disk.submit, target.close)
        finished = await service.enlarge(backend, upload.file, target, options, request.receive, header=header)
        _count(finished)
        size = await asyncio.get_running_loop().run_in_executor(service.disk, _rewind, target)
        return PictureResponse(
            target,
            size,
            headers=_headers(finished, upload.filename),
            media_type=finished.report.media_type,
            disk=service.disk if size > IN_MEMORY_BYTES else None,
            idle_seconds=service.settings.send_idle_seconds,
            held=held.pop_all(),
        )
    raise AssertionError("unreachable: nothing above swallows an exception")


async def _answer_job(
    service: Service, request: Request, job: Job, preference: Preference, output_pixels: int
) -> Response:
    """The result if it comes within the time that the client waits, else 202."""
    patience = preference.wait
    if preference.respond_async and patience is None:
        return accepted(job, preference.applied)
    if patience is None:
        # Who says nothing and could not know that this became a job, gets the picture where that takes no ages.
        small = output_pixels <= PATIENT_PIXELS and service.settings.sync_max_output_pixels < PATIENT_PIXELS
        patience = PATIENT_SECONDS if small or IDEMPOTENCY in request.headers else None
    if patience:
        job = await _wait(service, request, job, patience)
    if job.state == "failed" and job.error is not None:
        raise of_failure(job.error.code, job.error.detail)
    if job.state != "succeeded":
        return accepted(job, preference.applied)
    response = result_response(service, job, request)
    response.headers["Content-Location"] = f"/v1/jobs/{job.id}/result"
    response.headers.update(preference.applied)
    return response


async def _wait(service: Service, request: Request, job: Job, seconds: float) -> Job:
    """The job after its end or after ``seconds``. A client that goes away meanwhile takes its job with it, unless it
    could come back for it with its Idempotency-Key."""
    jobs = jobs_of(service)
    waiting = asyncio.ensure_future(jobs.wait(job.id, seconds))
    gone = asyncio.ensure_future(disconnected(request.receive))
    try:
        both: set[asyncio.Future[Any]] = {waiting, gone}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            if IDEMPOTENCY not in request.headers:
                await jobs.cancel(job.id)
            raise ClientGoneProblem("The client went away while it waited for its picture.")
        return waiting.result() or job
    finally:
        for each in (waiting, gone):
            each.cancel()
        await asyncio.gather(waiting, gone, return_exceptions=True)


def _refuse_repeated(request: Request) -> None:
    names = [name for name, _ in request.query_params.multi_items()]
    for name in NAMES:
        if names.count(name) > 1:
            raise InvalidOptionProblem(f"{name} is given {names.count(name)} times; give it once.")


def _count(finished: Finished) -> None:
    report = finished.report
    traces.annotate(model=report.model, scale=report.scale, **report.timings)
    megapixels = report.width * report.height / 1e6
    networks = "+".join(str(scale) for scale in report.passes)
    metrics.OUTPUT_MEGAPIXELS.labels(report.model, networks, "sync").inc(megapixels)
    for phase, seconds in {"queue": finished.queue_seconds, **report.timings}.items():
        metrics.PICTURE_SECONDS.labels(phase).observe(seconds)


def _rewind(file: BinaryIO) -> int:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return size


def _headers(finished: Finished, filename: str | None) -> dict[str, str]:
    report = finished.report
    timings = {"queue": finished.queue_seconds, **report.timings}
    headers = {
        "Content-Disposition": content_disposition(result_name(filename, report.scale, report.extension)),
        "Cache-Control": "no-store",
        "X-Chetko-Model": f"{report.model}/{'+'.join(f'x{scale}' for scale in report.passes)}@{report.version}",
        "Server-Timing": ", ".join(f"{name};dur={seconds * 1000:.1f}" for name, seconds in timings.items()),
    }
    if report.notices:
        headers["X-Chetko-Notice"] = ", ".join(report.notices)
    return headers
