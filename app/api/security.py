"""Who may call: host names, other web sites, and what a browser may do with our answers.

A service on loopback is in reach of every web page that its user opens: by a form or ``fetch`` from a foreign
site, and by DNS rebinding. The first is stopped by ``OriginCheck``, the second by ``HostCheck``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.problems import CrossSiteRequestProblem, HostNotAllowedProblem, Problem

PROBES = ("/livez", "/readyz")
SAFE_METHODS = ("GET", "HEAD", "OPTIONS", "TRACE")
_PORT = re.compile(":[0-9]{1,5}")

ANSWER_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


class SecurityHeaders:
    """Puts ``ANSWER_HEADERS`` on every answer that does not set them itself."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message.setdefault("headers", [])
                headers = MutableHeaders(scope=message)
                for name, value in ANSWER_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, send_with_headers)


class HostCheck:
    """Refuses with 421 what is not addressed to one of ``allowed``; probes are exempt.

    ``allowed`` holds lower-case names without port; IPv6 in brackets; ``*.example.org`` for all names below;
    ``*`` for any.
    """

    def __init__(self, app: ASGIApp, allowed: Sequence[str]) -> None:
        self.app = app
        self.allowed = tuple(allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in PROBES:
            given = Headers(scope=scope).getlist("host")
            if len(given) != 1 or not self.allows(given[0]):
                shown = repr(given[0][:80]) if given else "none"
                problem = HostNotAllowedProblem(
                    f"This service does not answer to the host name {shown}. "
                    "Call it by one of its names, or have its operator add this one to CHETKO_ALLOWED_HOSTS."
                )
                await _refuse(problem, scope, receive, send)
                return
        await self.app(scope, receive, send)

    def allows(self, host: str) -> bool:
        """Whether a Host header's value, with or without a port, names this service."""
        name, _port = split_host(host)
        if not name:
            return False
        return any(
            allowed in ("*", name) or (allowed.startswith("*.") and name.endswith(allowed[1:]))
            for allowed in self.allowed
        )


class OriginCheck:
    """Refuses with 403 writes that a browser sends on behalf of another site, unless it is one of ``allowed``.

    Programs send neither ``Origin`` nor ``Sec-Fetch-Site`` and pass. ``allowed``: lower-case origins as browsers write
    them.
    """

    def __init__(self, app: ASGIApp, allowed: Sequence[str] = ()) -> None:
        self.app = app
        self.allowed = frozenset(allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in SAFE_METHODS:
            headers = Headers(scope=scope)
            host = headers.get("host", "")
            origins = headers.getlist("origin")
            if len(origins) == 1 and origins[0] in self.allowed:
                await self.app(scope, receive, send)
                return
            foreign = not all(same_origin(origin, host) for origin in origins)
            if foreign or headers.get("sec-fetch-site", "").lower() == "cross-site":
                problem = CrossSiteRequestProblem(
                    "A page of another web site sent this request, and only pages of this service may. "
                    "Call the service from its own page, from a program, or through your own server."
                )
                await _refuse(problem, scope, receive, send)
                return
        await self.app(scope, receive, send)


def split_host(value: str) -> tuple[str, int | None]:
    """``Host`` header -> (lower-case name, port or None); the name is empty when the value makes no sense."""
    value = value.strip().lower()
    if value.startswith("["):
        name, bracket, rest = value.partition("]")
        name += bracket
    else:
        name, colon, port = value.partition(":")
        rest = colon + port
    if not rest:
        return name, None
    if _PORT.fullmatch(rest):
        return name, int(rest[1:])
    return "", None


def same_origin(origin: str, host: str) -> bool:
    """Whether an ``Origin`` header names the host that was called.

    The schemes are not compared: behind a proxy that ends TLS the service cannot know its own.
    """
    try:
        parts = urlsplit(origin.strip().lower())
    except ValueError:  # brackets without an IPv6 address in them
        return False
    default = {"http": 80, "https": 443}.get(parts.scheme)
    if default is None:
        return False
    origin_name, origin_port = split_host(parts.netloc)
    host_name, host_port = split_host(host)
    return bool(origin_name) and (origin_name, origin_port or default) == (host_name, host_port or default)


async def _refuse(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    await problem.response(scope)(scope, receive, send)
