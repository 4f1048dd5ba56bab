"""Gives every request an id and a trace, and log and metrics one entry per request."""

from __future__ import annotations

import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.problems import REQUEST_ID
from app.telemetry import logs, metrics, traces

_GIVEN = re.compile(r"[A-Za-z0-9._-]{1,64}")
SHARED = "/v1/shared/"
_QUIET = ("/livez", "/readyz")
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_log = logging.getLogger("chetko.access")


class RequestId:
    """Takes the caller's ``X-Request-Id`` (1-64 letters, digits, ``. _ -``) or makes one; answers carry it
    back. Likewise a caller's W3C ``traceparent`` is taken up, where traces are made.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _GIVEN.fullmatch(given) else uuid.uuid4().hex
        scope[REQUEST_ID] = request_id
        logs.request_id.set(request_id)  # each request has a context of its own
        started = time.perf_counter()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message.setdefault("headers", [])
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        parent = {name: headers[name] for name in ("traceparent", "tracestate") if name in headers}
        try:
            with traces.span(f"{scope['method']} request", parent=parent, request=request_id):
                try:
                    await self.app(scope, receive, send_with_id)
                finally:
                    traces.annotate(route=_route(scope), status=status)
        finally:
            seconds = time.perf_counter() - started
            _count(scope, status, seconds)
            _tell(scope, status, seconds, request_id)


def _route(scope: Scope) -> str:
    """The template of the route that answered, such as /v1/models/{name}; ``other`` where there was none."""
    return str(getattr(scope.get("route"), "path", "other"))


def _count(scope: Scope, status: int, seconds: float) -> None:
    method = scope["method"] if scope["method"] in _METHODS else "other"
    metrics.REQUESTS.labels(method, _route(scope), str(status) if status else "aborted").inc()
    metrics.REQUEST_SECONDS.labels(_route(scope)).observe(seconds)


def _shown_path(path: str) -> str:
    """A share link's token opens what it names, so the log leaves it out."""
    return SHARED + "..." if path.startswith(SHARED) else path


def _tell(scope: Scope, status: int, seconds: float, request_id: str) -> None:
    client = scope["client"][0] if scope.get("client") else "-"
    _log.log(
        logging.DEBUG if scope["path"] in _QUIET else logging.INFO,
        "%s %r %d %.0f ms %s %s",
        scope["method"], _shown_path(scope["path"]), status, seconds * 1000, client, request_id,
        extra={
            "method": scope["method"],
            "path": _shown_path(scope["path"]),
            "route": _route(scope),
            "status": status,
            "milliseconds": round(seconds * 1000, 1),
            "client": client,
        },
    )  # fmt: skip
