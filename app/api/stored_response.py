"""Sends a stored object: whole, a range of it, or nothing where the client has it already."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from concurrent.futures import Executor

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.api.fallbacks import HEAD
from app.api.problems import RangeProblem
from app.storage import MissingObjectError, Storage, StorageError

CHUNK_BYTES = 1 << 20

_RANGE = re.compile(r"bytes\s*=\s*([0-9]{0,18})\s*-\s*([0-9]{0,18})")
_log = logging.getLogger("chetko.api")


class StoredResponse(Response):
    """The object ``key`` of ``size`` bytes with a strong ``etag`` (without quotes).

    Honours Range (one range; several are answered with the whole, as the standard allows), If-Range and If-None-Match.
    """

    def __init__(
        self,
        storage: Storage,
        key: str,
        *,
        size: int,
        etag: str,
        media_type: str,
        headers: Mapping[str, str],
        request: Headers,
        disk: Executor,
        idle_seconds: float,
    ) -> None:
        """``disk`` reads; a client that takes nothing for ``idle_seconds`` loses its connection.

        Raises RangeProblem for a range that lies outside.
        """
        tag = f'"{etag}"'
        common = {**headers, "ETag": tag, "Accept-Ranges": "bytes"}
        self._storage, self._key, self._disk, self._idle_seconds = storage, key, disk, idle_seconds
        self._start, self._length = 0, size
        if _has(request, tag):
            self._length = 0
            super().__init__(None, 304, headers=common)
            return
        span = _span(request, tag, size)
        status = 200
        if span is not None:
            status = 206
            self._start, self._length = span
            common["Content-Range"] = f"bytes {span[0]}-{span[0] + span[1] - 1}/{size}"
        super().__init__(None, status, headers={**common, "Content-Length": str(self._length)}, media_type=media_type)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's form
        loop = asyncio.get_running_loop()
        file = None
        try:
            if self._length and not scope.get(HEAD):
                # Opened before the head is sent: an object that is gone still gets an honest status.
                file = await loop.run_in_executor(self._disk, self._storage.open, self._key)
                await loop.run_in_executor(self._disk, file.seek, self._start)
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            left = self._length if file is not None else 0
            while left and file is not None:
                try:
                    chunk = await loop.run_in_executor(self._disk, file.read, min(CHUNK_BYTES, left))
                except (MissingObjectError, StorageError, OSError) as error:
                    _log.warning("%s could not be read to its end: %s", self._key, error)
                    return  # the last piece is missing: the server cuts the connection
                if not chunk:
                    return
                left -= len(chunk)
                async with asyncio.timeout(self._idle_seconds):
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            _log.warning("A client took nothing of its result for %g s.", self._idle_seconds)
        finally:
            if file is not None:
                self._disk.submit(file.close)


def _has(request: Headers, tag: str) -> bool:
    given = request.get("if-none-match")
    if given is None:
        return False
    known = [each.strip().removeprefix("W/") for each in given.split(",")]
    return tag in known or known == ["*"]


def _span(request: Headers, tag: str, size: int) -> tuple[int, int] | None:
    """(start, length) of the wanted range; None for the whole."""
    condition = request.get("if-range")
    given = request.get("range")
    if given is None or (condition is not None and condition.strip() != tag):
        return None
    found = _RANGE.fullmatch(given.strip().lower())
    if found is None or (not found[1] and not found[2]):
        return None
    if not found[1]:
        start, stop = max(0, size - int(found[2])), size
    else:
        start = int(found[1])
        stop = min(size, int(found[2]) + 1) if found[2] else size
        if found[2] and int(found[2]) < start:
            return None
    if start >= stop:
        raise RangeProblem(
            f"The file has {size} bytes, and the range {given[:64]!r} lies outside.",
            headers={"Content-Range": f"bytes */{size}"},
        )
    return start, stop - start
