"""What holds for every route: HEAD, and failures that nobody foresaw."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.problems import Problem, UnavailableProblem, unexpected

HEAD = "chetko.head"
"""Key in an ASGI scope: the answer's body will not be sent, so nobody needs to make it."""


class HeadAsGet:
    """Answers HEAD wherever GET is answered, with GET's headers and no body."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def send_without_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        as_get = {**scope, "method": "GET", HEAD: True}
        try:
            await self.app(as_get, receive, send_without_body)
        finally:
            if "route" in as_get:  # the layers above count by it
                scope["route"] = as_get["route"]


class CatchAll:
    """Makes a 500 problem of an unexpected exception, as long as no answer has begun.

    It sits inside the other layers, so that such an answer too has its request id and its security headers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def send_and_note(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        except asyncio.CancelledError:
            # The server cancels what still runs when CHETKO_DRAIN_SECONDS are over.
            if started:
                raise
            stopped = UnavailableProblem(
                "The service stopped before the picture was finished. Send it again in 5 seconds.",
                code="draining",
                retry_after=5,
            )
            await stopped.response(scope)(scope, receive, send)
        except Exception as error:
            problem = error if isinstance(error, Problem) else unexpected(error, scope)
            if not started:
                await problem.response(scope)(scope, receive, send)
            # An answer that has begun cannot be taken back: returning makes the server cut the connection,
            # which tells the client that it is incomplete.
