"""Sends a finished picture from its temporary file, piece by piece."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from concurrent.futures import Executor
from contextlib import AsyncExitStack
from typing import BinaryIO

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

CHUNK_BYTES = 256 * 1024

_log = logging.getLogger("chetko.api")


class PictureResponse(Response):
    """``file``'s ``size`` bytes from its start, then closes ``held`` (the place, the file), however sending
    ends.
    """

    media_type = "image/png"

    def __init__(
        self,
        file: BinaryIO,
        size: int,
        *,
        headers: Mapping[str, str],
        media_type: str,
        disk: Executor | None,
        idle_seconds: float,
        held: AsyncExitStack,
    ) -> None:
        """``disk`` reads the file; None reads at once, for files in memory. A client that takes nothing for
        ``idle_seconds`` loses its connection.
        """
        super().__init__(None, headers={**headers, "Content-Length": str(size)}, media_type=media_type)
        self.file = file
        self.disk = disk
        self.idle_seconds = idle_seconds
        self.held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's form
        loop = asyncio.get_running_loop()
        async with self.held:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            while True:
                if self.disk is None:
                    chunk = self.file.read(CHUNK_BYTES)
                else:
                    chunk = await loop.run_in_executor(self.disk, self.file.read, CHUNK_BYTES)
                try:
                    async with asyncio.timeout(self.idle_seconds):
                        await send({"type": "http.response.body", "body": chunk, "more_body": bool(chunk)})
                except TimeoutError:
                    # Returning without the last piece makes the server cut the connection.
                    _log.warning("A client took nothing of its picture for %g s.", self.idle_seconds)
                    return
                if not chunk:
                    return
