"""Reads ``multipart/form-data`` with its one part ``image`` as it arrives, without holding it in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.datastructures import Headers
from starlette.types import Receive

from app.api.problems import (
    BodyTooLargeProblem,
    ClientGoneProblem,
    MalformedBodyProblem,
    MediaTypeProblem,
    UnexpectedPartProblem,
    UploadTooSlowProblem,
)
from app.api.spool import IN_MEMORY_BYTES, open_spool

FIELD = "image"
_EXAMPLE = "for instance: curl -F image=@photo.jpg"


def body_of_a_picture(description: str) -> dict[str, Any]:
    """What OpenAPI is told of a body that ``receive_upload`` reads; ``description`` tells which pictures."""
    part = {"type": "string", "format": "binary", "description": description}
    schema = {"type": "object", "required": [FIELD], "properties": {FIELD: part}}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """What an upload may take; see the settings of the same names."""

    max_body_bytes: int
    idle_seconds: float
    min_bytes_per_second: int


@dataclass(frozen=True, slots=True)
class Upload:
    """One received picture."""

    file: BinaryIO
    """Positioned at its start; closing it removes it."""
    size: int
    """Bytes."""
    filename: str | None
    """As the client wrote it: may hold a path or anything else."""


def boundary_of(headers: Headers, limits: UploadLimits) -> bytes:
    """The multipart boundary; raises the problem for everything that the headers alone show to be wrong."""
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise MediaTypeProblem("Send the body as it is, without Content-Encoding.", code="content_encoding")
    kind, options = parse_options_header(headers.get("content-type", ""))
    if kind != b"multipart/form-data":
        given = f"not {kind.decode('latin-1')[:64]!r}" if kind else "and this request has no Content-Type"
        raise MediaTypeProblem(f"Send multipart/form-data with one part called image, {given}; {_EXAMPLE}")
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise MalformedBodyProblem(
            "The Content-Type multipart/form-data lacks its boundary: leave it to your HTTP library.",
            code="missing_boundary",
        )
    length = headers.get("content-length", "")
    if length.isascii() and length.isdigit():
        if int(length) > limits.max_body_bytes:
            raise _too_large(limits.max_body_bytes)
        if int(length) == 0:
            raise _empty_body()
    return boundary


async def receive_upload(
    receive: Receive, boundary: bytes, limits: UploadLimits, disk: Executor, options: Collection[str] = ()
) -> Upload:
    """Receives the whole body.

    Nothing of it is kept when a problem is raised. ``disk`` runs writes that go beyond ``IN_MEMORY_BYTES``;
    ``options`` are names that belong into the query and are often sent as parts by mistake.
    """
    file = open_spool()
    try:
        part = _OnePart(boundary, options)
        size = await _receive_into(file, part, receive, limits, disk)
        await asyncio.get_running_loop().run_in_executor(disk, file.seek, 0)
    except BaseException:
        disk.submit(file.close)
        raise
    return Upload(file, size, part.filename)


async def body_pieces(receive: Receive, limits: UploadLimits) -> AsyncIterator[bytes]:
    """The body as it arrives; raises the problem of a body that is too large, stands still, is too slow or cut off."""
    received = 0
    started = time.monotonic()
    more = True
    while more:
        try:
            async with asyncio.timeout(limits.idle_seconds):
                message = await receive()
        except TimeoutError:
            raise UploadTooSlowProblem(
                f"No byte of the body arrived for {limits.idle_seconds:g} seconds. Send it without pauses."
            ) from None
        if message["type"] == "http.disconnect":
            raise ClientGoneProblem("The client went away while it sent its picture.")
        body = message.get("body", b"")
        more = message.get("more_body", False)
        received += len(body)
        if received > limits.max_body_bytes:
            raise _too_large(limits.max_body_bytes)
        spent = time.monotonic() - started
        if more and spent > limits.idle_seconds and received < spent * limits.min_bytes_per_second:
            raise UploadTooSlowProblem(
                f"The body arrives more slowly than {limits.min_bytes_per_second} bytes per second. "
                "Use a faster connection or send a smaller picture.",
                limit=limits.min_bytes_per_second,
            )
        yield body


async def _receive_into(file: BinaryIO, part: _OnePart, receive: Receive, limits: UploadLimits, disk: Executor) -> int:
    loop = asyncio.get_running_loop()
    written = 0
    anything = False

    async def write() -> None:
        nonlocal written
        data = bytes(part.pending)
        part.pending.clear()
        # Small writes stay in memory and cost nothing; only what touches the disk leaves the loop's thread.
        if written + len(data) > IN_MEMORY_BYTES:
            await loop.run_in_executor(disk, file.write, data)
        else:
            file.write(data)
        written += len(data)

    async for body in body_pieces(receive, limits):
        anything = anything or bool(body)
        part.feed(body)
        if len(part.pending) >= IN_MEMORY_BYTES // 4:
            await write()
    if part.pending:
        await write()
    if not anything:
        raise _empty_body()
    part.finish()
    if not written:
        raise UnexpectedPartProblem(
            f"The part image is empty: put the bytes of a picture into it, {_EXAMPLE}", code="empty_picture"
        )
    return written


@dataclass
class _OnePart:
    """A multipart parser that takes exactly one part called ``image``."""

    boundary: bytes
    options: Collection[str]
    pending: bytearray = field(default_factory=bytearray)
    filename: str | None = None

    def __post_init__(self) -> None:
        self._parts = 0
        self._ended = False
        self._name = bytearray()
        self._value = bytearray()
        self._disposition: bytes | None = None
        try:
            self._parser = MultipartParser(
                self.boundary,
                {
                    "on_part_begin": self._part_begin,
                    "on_header_field": self._header_field,
                    "on_header_value": self._header_value,
                    "on_header_end": self._header_end,
                    "on_headers_finished": self._headers_finished,
                    "on_part_data": self._part_data,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise MalformedBodyProblem("The multipart boundary is too long: use at most 70 characters.") from error

    def feed(self, data: bytes) -> None:
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise MalformedBodyProblem(
                "The body is not well-formed multipart/form-data: its parts do not begin with the boundary that "
                "the Content-Type names. Leave both to your HTTP library."
            ) from error

    def finish(self) -> None:
        """Called at the end of the body; raises when it ends too early or has no part."""
        if not self._ended:
            raise MalformedBodyProblem(
                "The body ends before its closing boundary: it was cut off. Send it again, whole.",
                code="body_incomplete",
            )
        if self._parts == 0:
            raise _empty_body()

    def _part_begin(self) -> None:
        self._parts += 1
        self._disposition = None
        self._name.clear()
        self._value.clear()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def _headers_finished(self) -> None:
        kind, options = parse_options_header((self._disposition or b"").decode("latin-1"))
        name = options.get(b"name", b"").decode("utf-8", "replace") if kind == b"form-data" else ""
        if name in self.options:
            raise UnexpectedPartProblem(
                f"Options go into the address, not into the body: /v1/upscale?{name}=...",
                code="wrong_field",
            )
        if self._parts > 1:
            raise UnexpectedPartProblem(
                "The body has more than one part. Send one picture per request.",
                code="too_many_parts",
                limit=1,
            )
        if name != FIELD:
            shown = f"is called {name[:64]!r}" if name else "has no name"
            raise UnexpectedPartProblem(f"The part {shown}, and it must be called image; {_EXAMPLE}")
        if b"filename" in options:
            # Browsers and curl send UTF-8, and write a quote inside the name as %22.
            self.filename = options[b"filename"].decode("utf-8", "replace").replace("%22", '"')

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self.pending += data[start:end]

    def _end(self) -> None:
        self._ended = True


def _too_large(limit: int) -> BodyTooLargeProblem:
    return BodyTooLargeProblem(
        f"The body is larger than {limit} bytes, which is the most this service takes. Send a smaller file.",
        limit=limit,
    )


def _empty_body() -> MalformedBodyProblem:
    return MalformedBodyProblem(
        f"The body is empty. Send multipart/form-data with one part called image; {_EXAMPLE}",
        code="empty_body",
    )
