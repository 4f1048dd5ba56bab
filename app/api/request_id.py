"""Gives every request an id, and the log one line per request."""

from __future__ import annotations

import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.problems import REQUEST_ID

_GIVEN = re.compile(r"[A-Za-z0-9._-]{1,64}")
_QUIET = ("/livez", "/readyz")
_log = logging.getLogger("chetko.access")


class RequestId:
    """Takes the caller's ``X-Request-Id`` (1-64 letters, digits, ``. _ -``) or makes one; answers carry it
    back.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _GIVEN.fullmatch(given) else uuid.uuid4().hex
        scope[REQUEST_ID] = request_id
        started = time.perf_counter()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message.setdefault("headers", [])
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        finally:
            level = logging.DEBUG if scope["path"] in _QUIET else logging.INFO
            milliseconds = (time.perf_counter() - started) * 1000
            client = scope["client"][0] if scope.get("client") else "-"
            _log.log(
                level, "%s %r %d %.0f ms %s %s",
                scope["method"], scope["path"], status, milliseconds, client, request_id,
            )  # fmt: skip
