"""Bounds the bodies of routes that read JSON as a whole, which the framework would take in without any bound."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.problems import BodyTooLargeProblem, UploadTooSlowProblem
from app.api.unread_body import has_body

SMALL_BYTES = 64 * 1024
STREAMED = ("/v1/upscale", "/v1/evaluations", "/v1/uploads/")
"""Paths that begin so count their bodies themselves, piece by piece."""


class SmallBody:
    """Guarantees: a body that a route reads as a whole is at most ``SMALL_BYTES`` (on ``/v1/jobs``, which takes a
    picture as base64: ``max_body_bytes`` and a third), and arrives without a pause of ``idle_seconds``.

    It raises the problem where the route reads; the layer around it answers.
    """

    def __init__(self, app: ASGIApp, *, max_body_bytes: int, idle_seconds: float) -> None:
        self.app = app
        self.job_bytes = max_body_bytes * 4 // 3 + SMALL_BYTES
        self.idle_seconds = idle_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(STREAMED) or not has_body(scope):
            await self.app(scope, receive, send)
            return
        limit = self.job_bytes if scope["path"] == "/v1/jobs" else SMALL_BYTES
        received = 0
        arrived = False

        async def receive_and_count() -> Message:
            nonlocal received, arrived
            try:
                # Once the body is there, the next message is the client's leaving: it may take its time.
                async with asyncio.timeout(None if arrived else self.idle_seconds):
                    message = await receive()
            except TimeoutError:
                raise UploadTooSlowProblem(
                    f"No byte of the body arrived for {self.idle_seconds:g} seconds. Send it without pauses."
                ) from None
            received += len(message.get("body", b""))
            arrived = not message.get("more_body", False)
            if received > limit:
                raise BodyTooLargeProblem(
                    f"The body is larger than {limit} bytes, which is the most that is taken here.", limit=limit
                )
            return message

        await self.app(scope, receive_and_count, send)
