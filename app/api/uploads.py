"""``/v1/uploads``: a place for a file that is too large, or too slow to send, for one request."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from app.api.callers import Caller, caller_of, queue_needed
from app.api.problems import (
    BodyTooLargeProblem,
    CrossSiteRequestProblem,
    HostNotAllowedProblem,
    InternalProblem,
    InvalidBodyProblem,
    MalformedBodyProblem,
    NotTheFileProblem,
    Problem,
    RateLimitedProblem,
    StorageUnavailableProblem,
    UnavailableProblem,
    UnknownUploadProblem,
    UploadIncompleteProblem,
    UploadInUseProblem,
    UploadTooSlowProblem,
    declare,
    of_storage,
)
from app.api.service import Service, service_of
from app.api.upload import UploadLimits, body_pieces
from app.api.upload_store import UploadPlace, UploadStore
from app.jobs.jobs import storage_used_up
from app.storage import StorageError, StorageWriter

router = APIRouter(tags=["uploads"])

_WRITE_BYTES = 1024 * 1024
"""Pieces of a body are gathered to this size, so that each costs one trip to a thread."""

_ALWAYS = (
    CrossSiteRequestProblem,
    HostNotAllowedProblem,
    InternalProblem,
    UnavailableProblem,
    StorageUnavailableProblem,
)
UploadId = Annotated[
    str,
    Path(
        description="The id that `POST /v1/uploads` gave.",
        max_length=64,
        examples=["up_Zm9vYmFyYmF6cXV4MTIzNDU2"],
    ),
]


class NewUpload(BaseModel):
    """The file that is going to be sent."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(
        min_length=1,
        max_length=255,
        description="The file's name; results are named after it.",
        examples=["poster.tif"],
    )
    bytes: int = Field(ge=1, le=2**53, description="The file's exact size.", examples=[48_211_340])
    media_type: str | None = Field(
        None,
        max_length=100,
        description="The file's media type, if known. What a file really is, is read from its bytes.",
        examples=["image/tiff"],
    )


class UploadDocument(BaseModel):
    """A place to put a file."""

    id: str = Field(description="Goes into `source.upload_id` of `POST /v1/jobs`.")
    put_url: str = Field(description="PUT the file's bytes here: a path of this service, or an address of its bucket.")
    expires_at: datetime = Field(description="When the place and what is in it are removed, unless a job uses it.")


@router.post(
    "/v1/uploads",
    operation_id="uploads-create",
    summary="Ask for a place to put a large file",
    status_code=201,
    responses={
        201: {
            "headers": {"Location": {"description": "Address of the upload.", "schema": {"type": "string"}}},
        },
        **declare(InvalidBodyProblem, BodyTooLargeProblem, RateLimitedProblem, *_ALWAYS),
    },
)
async def create_upload(
    body: NewUpload, request: Request, response: Response, service: Annotated[Service, Depends(service_of)]
) -> UploadDocument:
    """Makes a place for one file of this size. Put the bytes there, then name the `id` as the source of a job."""
    most = service.settings.max_upload_bytes
    if body.bytes > most:
        raise BodyTooLargeProblem(f"A file may have {most:,} bytes at most, not {body.bytes:,}.", limit=most)
    store, caller = uploads_of(service), caller_of(request)
    with queue_needed():
        place = await store.open(caller.owner, body.name, body.bytes, body.media_type, caller.storage_bytes)
    if place is None:
        raise storage_used_up(caller.storage_bytes or 0)
    with storage_needed():
        url = await _in_thread(store.storage.presign, place.key, method="PUT", seconds=int(store.seconds))
    response.headers["Location"] = f"/v1/uploads/{place.id}"
    response.headers["Cache-Control"] = "no-store"
    return UploadDocument(
        id=place.id,
        put_url=url or f"/v1/uploads/{place.id}",
        expires_at=datetime.fromtimestamp(place.expires, UTC),
    )


@router.put(
    "/v1/uploads/{upload_id}",
    operation_id="uploads-put",
    summary="Send the file",
    status_code=204,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
    responses=declare(
        MalformedBodyProblem,
        UnknownUploadProblem,
        UploadTooSlowProblem,
        UploadIncompleteProblem,
        UploadInUseProblem,
        BodyTooLargeProblem,
        NotTheFileProblem,
        *_ALWAYS,
    ),
)
async def put_upload(
    upload_id: UploadId, request: Request, service: Annotated[Service, Depends(service_of)]
) -> Response:
    """Takes the file's bytes as they are (no multipart): exactly as many as were announced.

    May be repeated as long as no job uses the upload; what was sent before is then replaced as a whole.
    """
    store = uploads_of(service)
    place = await _find_open(store, upload_id, caller_of(request))
    _check_headers(request, place)
    settings = service.settings
    limits = UploadLimits(
        max_body_bytes=place.bytes,
        idle_seconds=settings.receive_idle_seconds,
        min_bytes_per_second=settings.receive_min_bytes_per_second,
    )
    with service.admission.upload(), storage_needed():
        writer = await _in_thread(store.storage.writer, place.key)
        try:
            sha256 = await _receive(request, limits, writer, place)
            # Nothing may have changed meanwhile: a job reads what it has checked, and what is removed stays so.
            place = await _find_open(store, upload_id, caller_of(request))
            await _in_thread(writer.commit)
        except BaseException:
            await asyncio.shield(_in_thread(writer.abort))
            raise
    with queue_needed():
        await store.filled(place, sha256)
    return Response(status_code=204)


@router.delete(
    "/v1/uploads/{upload_id}",
    operation_id="uploads-delete",
    summary="Remove an upload",
    status_code=204,
    responses=declare(UnknownUploadProblem, UploadInUseProblem, *_ALWAYS),
)
async def delete_upload(
    upload_id: UploadId, request: Request, service: Annotated[Service, Depends(service_of)]
) -> Response:
    """Removes the place and what was put there, and links to it lead nowhere. An upload that a job uses goes with the
    job.
    """
    store = uploads_of(service)
    place = await _find(store, upload_id, caller_of(request))
    with queue_needed(), storage_needed():
        await store.remove(place, _in_thread)
    return Response(status_code=204)


def uploads_of(service: Service) -> UploadStore:
    """The uploads of a service; raises the problem of one that has no queue server or no store."""
    if service.uploads is None:
        raise UnavailableProblem(
            "This service runs without its queue server, which keeps uploads. Use POST /v1/upscale.",
            code="queue_unavailable",
            retry_after=60,
        )
    return service.uploads


async def upload_for_job(service: Service, caller: Caller, upload_id: str, until: float) -> UploadPlace:
    """The caller's upload, complete, and kept until then (Unix time): what a job names as its source.

    Raises UnknownUploadProblem, UploadIncompleteProblem, and the problems of Redis and storage.
    """
    store = uploads_of(service)
    place = await complete_upload(service, caller, upload_id)
    with queue_needed():
        return await store.take(place, until)


async def complete_upload(service: Service, caller: Caller, upload_id: str) -> UploadPlace:
    """The caller's upload, all of whose bytes are there.

    Raises UnknownUploadProblem, UploadIncompleteProblem, and the problems of Redis and storage.
    """
    store = uploads_of(service)
    with queue_needed(), storage_needed():
        place = await store.find(upload_id, caller.owner)
        if place is None:
            raise _unknown()
        if place.sha256 is None:
            found = await _in_thread(store.measure, place)  # it may have gone straight into the bucket
            if found is None:
                raise UploadIncompleteProblem("Nothing was put into this upload yet: PUT the file to its put_url.")
            size, sha256 = found
            if size != place.bytes:
                raise UploadIncompleteProblem(
                    f"This upload was announced with {place.bytes} bytes and has {size}. PUT it again.",
                    code="upload_size_differs",
                    limit=place.bytes,
                )
            place = await store.filled(place, sha256)
        return place


@contextmanager
def storage_needed() -> Iterator[None]:
    """Makes a problem of a store that is full or does not answer; what it says is for the operator only."""
    try:
        yield
    except StorageError as error:
        raise of_storage(error) from error


async def _find(store: UploadStore, upload_id: str, caller: Caller) -> UploadPlace:
    with queue_needed():
        place = await store.find(upload_id, caller.owner)
    if place is None:
        raise _unknown()
    if place.taken:
        raise UploadInUseProblem("A job uses this upload, so it stays as it is. Ask for a new one.")
    return place


async def _find_open(store: UploadStore, upload_id: str, caller: Caller) -> UploadPlace:
    """As ``_find``; raises UploadInUseProblem for one that others see, too."""
    place = await _find(store, upload_id, caller)
    if place.shared:
        raise UploadInUseProblem("There is a link to this upload, so it stays as it is. Ask for a new one.")
    return place


def _unknown() -> UnknownUploadProblem:
    return UnknownUploadProblem("There is no such upload: its id is misspelt, or it has expired. Ask for a new one.")


def _check_headers(request: Request, place: UploadPlace) -> None:
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise NotTheFileProblem("Send the file as it is, without Content-Encoding.", code="content_encoding")
    if request.headers.get("content-type", "").lower().startswith("multipart/"):
        raise NotTheFileProblem("Send the file's bytes as the body, not multipart: curl -T photo.tif ADDRESS")
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length) != place.bytes:
        raise _wrong_size(int(length), place)


async def _receive(request: Request, limits: UploadLimits, writer: StorageWriter, place: UploadPlace) -> str:
    """Writes the body and gives its SHA-256 in hex."""
    sum_ = hashlib.sha256()
    received = 0
    pending = bytearray()

    def write(data: bytes) -> None:
        sum_.update(data)
        writer.write(data)

    async for piece in body_pieces(request.receive, limits):
        received += len(piece)
        pending += piece
        if len(pending) >= _WRITE_BYTES:
            await _in_thread(write, bytes(pending))
            pending.clear()
    if received != place.bytes:
        raise _wrong_size(received, place)
    await _in_thread(write, bytes(pending))
    return sum_.hexdigest()


def _wrong_size(size: int, place: UploadPlace) -> Problem:
    if size > place.bytes:
        return BodyTooLargeProblem(
            f"The body has {size} bytes, and {place.bytes} were announced. Ask for an upload of the right size.",
            limit=place.bytes,
        )
    return MalformedBodyProblem(
        f"The body has {size} bytes, and {place.bytes} were announced: it was cut off. Send it again, whole.",
        code="body_incomplete",
    )


async def _in_thread(function: Any, *arguments: Any, **named: Any) -> Any:
    return await asyncio.to_thread(function, *arguments, **named)
