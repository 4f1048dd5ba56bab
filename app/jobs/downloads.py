"""Fetches the picture that a caller named by its address (``source.url``)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from urllib.parse import unquote, urljoin, urlsplit

from app.jobs.call import Answer, call
from app.jobs.egress import EgressError, Gate

MAX_REDIRECTS = 3
_REDIRECTS = {301, 302, 303, 307, 308}
_SINK_BYTES = 1024 * 1024
"""The sink is given pieces of about this size."""


@dataclass(frozen=True, slots=True)
class Downloaded:
    """What was fetched."""

    media_type: str
    """As the server says, in lower case and without parameters; "application/octet-stream" if it says nothing."""
    name: str | None
    """The file's own name as the server or the address gives it, without folders; not to be trusted any further."""
    bytes: int


async def download(
    gate: Gate, url: str, *, limit_bytes: int, seconds: float, sink: Callable[[bytes], object]
) -> Downloaded:
    """Gives the file to ``sink`` (which is called in threads, one call at a time) as it comes.

    Follows at most three redirects, each through the gate like the first address. Raises EgressError: what was given to
    the sink until then is to be thrown away.
    """
    end = time.monotonic() + seconds
    for _ in range(MAX_REDIRECTS + 1):
        left = max(0.001, end - time.monotonic())
        async with call(gate, "GET", url, headers={"Accept": "image/*,*/*;q=0.5"}, seconds=left) as answer:
            if answer.status in _REDIRECTS and (location := answer.header("location")):
                try:
                    url = urljoin(url, location)
                except ValueError:
                    raise EgressError(f"{urlsplit(url).hostname} redirects to something that is no address.") from None
                continue
            return await _receive(answer, url, limit_bytes, sink)
    raise EgressError(f"The address redirects more than {MAX_REDIRECTS} times.")


async def _receive(answer: Answer, url: str, limit_bytes: int, sink: Callable[[bytes], object]) -> Downloaded:
    host = urlsplit(url).hostname
    if answer.status != 200:
        raise EgressError(f"{host} answered {answer.status} instead of the picture.")
    if (answer.header("content-encoding") or "identity").lower() != "identity":
        raise EgressError(f"{host} sends the picture compressed, although it was asked not to.")
    size, piece = 0, bytearray()
    async for data in answer.body(limit_bytes):
        size += len(data)
        piece += data
        if len(piece) >= _SINK_BYTES:
            await asyncio.to_thread(sink, bytes(piece))
            piece.clear()
    if piece:
        await asyncio.to_thread(sink, bytes(piece))
    media_type = (answer.header("content-type") or "").split(";")[0].strip().lower()
    return Downloaded(media_type or "application/octet-stream", _name(answer, url), size)


def _name(answer: Answer, url: str) -> str | None:
    head = Message()
    head["Content-Disposition"] = answer.header("content-disposition") or "attachment"
    name = head.get_filename() or unquote(urlsplit(url).path)
    name = name.replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(letter for letter in name if letter.isprintable())[:200] or None
