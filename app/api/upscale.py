"""``POST /v1/upscale``: one picture in, one picture out."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from app.api.file_names import content_disposition, result_name
from app.api.options import NAMES, UpscaleQuery
from app.api.picture_response import PictureResponse
from app.api.problems import (
    BodyTooLargeProblem,
    BrokenPictureProblem,
    CrossSiteRequestProblem,
    FormatCannotHoldProblem,
    HostNotAllowedProblem,
    InternalProblem,
    InvalidOptionProblem,
    MalformedBodyProblem,
    MediaTypeProblem,
    PictureTooLargeProblem,
    UnavailableProblem,
    UnexpectedPartProblem,
    UnknownModelProblem,
    UnknownOptionProblem,
    UnknownScaleProblem,
    UnsupportedPictureProblem,
    UploadTooSlowProblem,
    declare,
)
from app.api.service import Finished, Service, service_of
from app.api.spool import IN_MEMORY_BYTES, open_spool
from app.api.upload import FIELD, boundary_of, receive_upload
from app.imaging.formats import FORMATS
from app.inference.course import check_options
from app.telemetry import metrics, traces

router = APIRouter(tags=["pictures"])

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [FIELD],
                    "properties": {
                        FIELD: {
                            "type": "string",
                            "format": "binary",
                            "description": "PNG, JPEG, WebP, AVIF, TIFF, BMP, GIF (its first frame) or HEIC.",
                        }
                    },
                }
            }
        },
    }
}

_PICTURE: dict[int | str, dict[str, Any]] = {
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
    }
}


@router.post(
    "/v1/upscale",
    operation_id="pictures-upscale",
    summary="Enlarge a picture",
    status_code=200,  # FastAPI would look for it in PictureResponse's signature
    response_class=PictureResponse,
    openapi_extra=_BODY,
    responses={
        **_PICTURE,
        **declare(
            MalformedBodyProblem,
            CrossSiteRequestProblem,
            UploadTooSlowProblem,
            BodyTooLargeProblem,
            PictureTooLargeProblem,
            MediaTypeProblem,
            UnsupportedPictureProblem,
            HostNotAllowedProblem,
            UnknownOptionProblem,
            InvalidOptionProblem,
            UnknownModelProblem,
            UnknownScaleProblem,
            UnexpectedPartProblem,
            BrokenPictureProblem,
            FormatCannotHoldProblem,
            InternalProblem,
            UnavailableProblem,
        ),
    },
)
async def upscale(
    request: Request,
    query: Annotated[UpscaleQuery, Query()],
    service: Annotated[Service, Depends(service_of)],
) -> Response:
    """Enlarges the picture in the part `image` and answers with it.

    Everything that the address and the headers show to be wrong is answered before the body is read.
    """
    _refuse_repeated(request)
    backend = service.backend
    boundary = boundary_of(request.headers, service.upload_limits)
    options = query.options()
    check_options(options, backend.registry)
    async with AsyncExitStack() as held:
        held.enter_context(service.admission.place())
        with service.admission.upload(), traces.span("receive"):
            upload = await receive_upload(request.receive, boundary, service.upload_limits, service.disk, NAMES)
        held.callback(service.disk.submit, upload.file.close)
        target = open_spool()
        held.callback(service.disk.submit, target.close)
        finished = await service.enlarge(backend, upload.file, target, options, request.receive)
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


def _refuse_repeated(request: Request) -> None:
    names = [name for name, _ in request.query_params.multi_items()]
    for name in NAMES:
        if names.count(name) > 1:
            raise InvalidOptionProblem(f"{name} is given {names.count(name)} times; give it once.")


def _count(finished: Finished) -> None:
    report = finished.report
    traces.annotate(model=report.model, scale=report.scale, **report.timings)
    megapixels = report.width * report.height / 1e6
    metrics.OUTPUT_MEGAPIXELS.labels(report.model, str(report.scale), "sync").inc(megapixels)
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
