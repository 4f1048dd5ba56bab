"""Answers that are given before the request's body was read, so that the client really sees them.

A server that closes a connection with unread bytes in it makes the kernel send a reset, and the reset throws
away an answer that the client has not read yet. So a refusal is sent at once and complete, with ``Connection:
close``, and the body is then thrown away for a little while before the connection is closed.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LINGER_SECONDS = 2.0
LINGER_BYTES = 128 * 1024 * 1024


def has_body(scope: Scope) -> bool:
    """Whether the request announces a body of at least one byte."""
    headers = Headers(scope=scope)
    return "transfer-encoding" in headers or headers.get("content-length", "0").strip() not in ("", "0")


class UnreadBody:
    """Guarantees: any answer to a request whose body is still arriving is complete on the wire before the
    body is touched, carries ``Connection: close``, and is followed by at most ``LINGER_SECONDS`` and
    ``LINGER_BYTES`` of discarding.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not has_body(scope):
            await self.app(scope, receive, send)
            return
        arrived = False

        async def receive_and_note() -> Message:
            nonlocal arrived
            message = await receive()
            if message["type"] == "http.disconnect" or not message.get("more_body", False):
                arrived = True
            return message

        async def send_then_linger(message: Message) -> None:
            if message["type"] == "http.response.start" and not arrived:
                message.setdefault("headers", [])
                MutableHeaders(scope=message)["Connection"] = "close"
            last = message["type"] == "http.response.body" and not message.get("more_body", False)
            if last and not arrived:
                await send({**message, "more_body": True})
                await _discard(receive)
                message = {"type": "http.response.body", "body": b"", "more_body": False}
            await send(message)

        await self.app(scope, receive_and_note, send_then_linger)


async def _discard(receive: Receive) -> None:
    left = LINGER_BYTES
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            while left > 0:
                message = await receive()
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return
                left -= len(message.get("body", b""))
