"""Who calls, and what they may do: one layer in front of every route, and what routes ask it.

Whatever is not named in ``PUBLIC`` or ``OPEN`` needs a key (or the cookie of a session) with the scope that its method
and path imply, unless callers without a key are served. A route that is added is thus closed before anybody thinks of
it.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.keys import SCOPES, Key, KeyStore
from app.api.problems import (
    InvalidKeyProblem,
    ListingNeedsKeyProblem,
    MissingScopeProblem,
    NeedsKeyProblem,
    Problem,
    RateLimitedProblem,
    UnavailableProblem,
)
from app.api.rate_limits import RateLimits, Window, policy_header, state_header
from app.api.security import SAFE_METHODS, same_origin
from app.api.sessions import COOKIE, SessionStore
from app.settings import Settings, is_loopback

OPEN: Final = ("/", "/favicon.ico", "/docs", "/openapi.json", "/livez", "/readyz", "/v1/session")
"""Answered to everybody, and nobody is asked who they are: the page must load before one can sign in."""
OPEN_BELOW: Final = ("/static/", "/docs/", "/v1/shared/")
"""The same for all paths that begin so; ``/v1/shared/`` checks a signature of its own."""
PUBLIC: Final = ("/v1", "/v1/limits")
"""Answered to everybody, and who shows a key is told what holds for that key."""

_CALLER: Final = "chetko.caller"
"""Key of the ``Caller`` in an ASGI scope."""


class CannotStartError(Exception):
    """The service must not start; the text is the sentence to show."""


@dataclass(slots=True)
class Caller:
    """Who sent a request."""

    owner: str
    """Id of the key, or "" without one: what a caller makes belongs to this owner and is invisible to all others."""
    scopes: tuple[str, ...]
    key: Key | None = None
    may_list: bool = True
    """Whether "all that is mine" means anything: without a key on a public address it would be everybody's."""
    requests_per_minute: int | None = None
    megapixels_per_minute: int | None = None
    max_concurrent: int | None = None
    max_jobs: int | None = None
    storage_bytes: int | None = None
    """Limits; None is none, for callers without a key."""
    windows: dict[str, Window] = field(default_factory=dict)
    """What this request left of each limit; told in the answer's RateLimit header."""

    def check_listing(self) -> None:
        """Raises ListingNeedsKeyProblem for a caller that has no list of its own."""
        if not self.may_list:
            raise ListingNeedsKeyProblem(
                "Without a key there is no list of what is yours. Keep the ids that you get, or ask the operator for "
                "a key."
            )


class Access:
    """Keys, sessions and limits of one service. ``redis`` None: there are no keys, and none can be shown."""

    def __init__(self, settings: Settings, redis: Redis | None) -> None:
        self.settings = settings
        public_address = not is_loopback(settings.host)
        allowed = settings.allow_anonymous
        self.required = public_address if allowed is None else not allowed
        """Whether every call needs a key."""
        self._anonymous_may_list = not public_address
        self.keys = None if redis is None else KeyStore(redis)
        self.sessions = None if redis is None else SessionStore(redis)
        self.limits = None if redis is None else RateLimits(redis)

    async def check_start(self) -> None:
        """Takes in the bootstrap key; raises CannotStartError where others could call and nobody has a key."""
        try:
            await self._take_in_bootstrap_key()
            keyless = self.required and (self.keys is None or not await self.keys.any())
        except (RedisError, OSError) as error:
            raise CannotStartError(f"The queue server does not answer: {error}") from error
        if keyless:
            why = (
                f"Others can reach {self.settings.host}"
                if self.settings.allow_anonymous is None
                else "CHETKO_ALLOW_ANONYMOUS is false"
            )
            raise CannotStartError(
                f"{why}, and there is no key yet. Make one with `chetko keys create "
                "NAME`, or set CHETKO_ALLOW_ANONYMOUS=true to serve everybody without one."
            )

    async def _take_in_bootstrap_key(self) -> None:
        path = self.settings.bootstrap_key_file
        if path is None:
            return
        if self.keys is None:
            raise CannotStartError("CHETKO_BOOTSTRAP_KEY_FILE needs a queue server, and there is none.")
        try:
            # Nothing is served yet: there is nothing else for the loop to do.
            text = path.read_text(encoding="utf-8", errors="replace").strip()
        except OSError as error:
            raise CannotStartError(f"CHETKO_BOOTSTRAP_KEY_FILE cannot be read: {error}") from error
        try:
            await self.keys.take_in(text, "bootstrap")
        except ValueError as error:
            raise CannotStartError(f"What CHETKO_BOOTSTRAP_KEY_FILE names {error}.") from error

    def anonymous(self) -> Caller:
        """Who shows no key."""
        return Caller("", () if self.required else SCOPES, may_list=self._anonymous_may_list)

    def caller(self, key: Key) -> Caller:
        """Who shows this key."""
        settings, own = self.settings, key.limits
        return Caller(
            key.id,
            key.scopes,
            key,
            requests_per_minute=own.requests_per_minute or settings.key_requests_per_minute,
            megapixels_per_minute=own.megapixels_per_minute or settings.key_megapixels_per_minute,
            max_concurrent=own.max_concurrent or settings.key_max_concurrent,
            max_jobs=own.max_jobs or settings.key_max_jobs,
            storage_bytes=(own.storage_mb or settings.key_storage_mb) * 1024 * 1024,
        )

    async def identify(self, connection: HTTPConnection) -> Caller:
        """Who sent this request. Raises InvalidKeyProblem for a key that is not valid, and ``redis.RedisError``.

        A cookie that is no longer valid counts as none: the page then asks for a key again.
        """
        text = shown_key(connection.headers)
        if text is not None:
            key = None if self.keys is None else await self.keys.find(text)
            if key is None:
                raise InvalidKeyProblem("This key is not valid: it is misspelt, or was revoked. Ask for a new one.")
            return self.caller(key)
        cookie = connection.cookies.get(COOKIE)
        if cookie and self.keys is not None and self.sessions is not None and _from_own_page(connection.headers):
            key_id = await self.sessions.key_id(cookie)
            key = None if key_id is None else await self.keys.by_id(key_id)
            if key is not None:
                return self.caller(key)
        return self.anonymous()


def caller_of(request: HTTPConnection) -> Caller:
    """Who sent this request; the layer ``CallerCheck`` has found it out before the route runs."""
    caller = request.scope[_CALLER]
    assert isinstance(caller, Caller)  # noqa: S101 - put there by CallerCheck
    return caller


async def charge_pixels(request: Request, pixels: int) -> None:
    """Counts the pixels of a result that is about to be made; raises RateLimitedProblem when the key has used its own.

    To be called once the picture's header is read, before anything is computed or stored for good. A picture larger
    than a whole minute's worth takes a whole minute's worth: it must be possible at all.
    """
    caller = caller_of(request)
    limit = caller.megapixels_per_minute
    if limit is not None:
        await _count(_access_of(request.scope), caller, "megapixels", limit, min(limit, math.ceil(pixels / 1_000_000)))


@asynccontextmanager
async def picture_of(request: Request) -> AsyncIterator[None]:
    """Holds one of the pictures that the caller's key may have worked on at once.

    Raises RateLimitedProblem ``quota_exceeded`` when all are held.
    """
    caller, limits = caller_of(request), _access_of(request.scope).limits
    async with AsyncExitStack() as held:
        if caller.max_concurrent is not None and limits is not None:
            with queue_needed():
                await held.enter_async_context(limits.picture(caller.owner, caller.max_concurrent))
        yield


async def _count(access: Access, caller: Caller, name: str, limit: int, cost: int) -> None:
    if access.limits is None:
        return
    with queue_needed():
        counted, window = await access.limits.count(name, caller.owner, limit, cost)
    caller.windows[name] = window
    if not counted:
        seconds = max(1, window.reset_seconds)
        raise RateLimitedProblem(
            f"This key may use {limit} {name} a minute, and has used them. Try again in {seconds} seconds.",
            limit=limit,
            retry_after=seconds,
        )


class CallerCheck:
    """Finds out who calls, refuses what they may not do, and tells in each answer what is left of their limits."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        access = _access_of(scope)
        path = scope["path"]
        scope[_CALLER] = access.anonymous()
        if is_open(path):
            await self.app(scope, receive, send)
            return

        async def send_with_limits(message: Message) -> None:
            if message["type"] == "http.response.start":
                known = scope[_CALLER].windows.values()
                if known:
                    headers = MutableHeaders(scope=message)
                    headers["RateLimit-Policy"] = policy_header(list(known))
                    headers["RateLimit"] = state_header(list(known))
            await send(message)

        try:
            with queue_needed():
                caller = scope[_CALLER] = await access.identify(HTTPConnection(scope))
            if caller.requests_per_minute is not None:
                await _count(access, caller, "requests", caller.requests_per_minute, 1)
            if path not in PUBLIC:
                check_scope(caller, scope["method"], path)
        except Problem as problem:
            await problem.response(scope)(scope, receive, send_with_limits)
            return
        await self.app(scope, receive, send_with_limits)


def is_open(path: str) -> bool:
    """Whether nobody is asked who they are."""
    return path in OPEN or path.startswith(OPEN_BELOW)


def scope_needed(method: str, path: str) -> str:
    """The scope that a call needs."""
    if path == "/v1/evaluations":
        return "evaluate"
    return "read" if method in SAFE_METHODS else "write"


def check_scope(caller: Caller, method: str, path: str) -> None:
    """Raises NeedsKeyProblem or MissingScopeProblem for a caller that may not do this."""
    needed = scope_needed(method, path)
    if needed in caller.scopes:
        return
    if caller.key is None:
        raise NeedsKeyProblem(
            "This service needs a key: send it as Authorization: Bearer ck_... or as X-API-Key, or sign in on the page."
        )
    raise MissingScopeProblem(
        f"This key may {', '.join(caller.scopes) or 'do nothing'}, and this call needs {needed}. Ask for another key."
    )


def shown_key(headers: Headers) -> str | None:
    """The key that a request shows in ``Authorization: Bearer`` or ``X-API-Key``; None where it shows none.

    Raises InvalidKeyProblem for other kinds of ``Authorization`` and for two different keys.
    """
    shown = {value.strip() for value in headers.getlist("x-api-key")}
    for value in headers.getlist("authorization"):
        kind, _, text = value.strip().partition(" ")
        if kind.lower() != "bearer":
            raise InvalidKeyProblem(
                "Authorization takes Bearer and a key here, and no other scheme: Authorization: Bearer ck_..."
            )
        shown.add(text.strip())
    if len(shown) > 1:
        raise InvalidKeyProblem("This request shows two different keys. Send one.")
    return shown.pop() if shown else None


@contextmanager
def queue_needed() -> Iterator[None]:
    """Makes a problem of a queue server that does not answer."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise UnavailableProblem(
            "The queue server does not answer at the moment. Try again in 5 seconds.",
            code="queue_unavailable",
            retry_after=5,
        ) from error


def _from_own_page(headers: Headers) -> bool:
    """Pages of other sites that CORS lets in must show a key: a cookie would let them act for whoever is signed in."""
    host = headers.get("host", "")
    return all(same_origin(origin, host) for origin in headers.getlist("origin"))


def _access_of(scope: Scope) -> Access:
    access = scope["app"].state.service.access
    assert isinstance(access, Access)  # noqa: S101 - put there by Service
    return access
