"""``/v1/session``: the page exchanges a key for a cookie that no script can read."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from app.api.callers import queue_needed
from app.api.problems import (
    CrossSiteRequestProblem,
    HostNotAllowedProblem,
    InternalProblem,
    InvalidBodyProblem,
    InvalidKeyProblem,
    UnavailableProblem,
    declare,
)
from app.api.service import Service, service_of
from app.api.sessions import COOKIE

router = APIRouter(tags=["session"])

_ALWAYS = (CrossSiteRequestProblem, HostNotAllowedProblem, InternalProblem, UnavailableProblem)


class SignIn(BaseModel):
    """What signs the page in."""

    model_config = ConfigDict(extra="forbid")

    key: str = Field(
        min_length=1,
        max_length=200,
        description="A key, as `chetko keys create` printed it.",
        examples=["ck_AbCdEfGhIjKlMnOpQrStUvWxYz0123456789-_AbCdE"],
    )


@router.post(
    "/v1/session",
    operation_id="session-open",
    summary="Sign the page in",
    status_code=204,
    responses=declare(InvalidKeyProblem, InvalidBodyProblem, *_ALWAYS),
)
async def open_session(body: SignIn, request: Request, service: Annotated[Service, Depends(service_of)]) -> Response:
    """Takes a key and sets the cookie `chetko_session` (HttpOnly, SameSite=Strict), which then stands for the key.

    Programs need no session: they send the key with each request.
    """
    access = service.access
    with queue_needed():
        key = None if access.keys is None else await access.keys.find(body.key.strip())
        if key is None or access.sessions is None:
            raise InvalidKeyProblem("This key is not valid: it is misspelt, or was revoked. Ask for a new one.")
        seconds = int(service.settings.session_hours * 3600)
        cookie = await access.sessions.open(key.id, seconds)
    response = Response(status_code=204, headers={"Cache-Control": "no-store"})
    _set(response, request, cookie, seconds)
    return response


@router.delete(
    "/v1/session",
    operation_id="session-close",
    summary="Sign the page out",
    status_code=204,
    responses=declare(*_ALWAYS),
)
async def close_session(request: Request, service: Annotated[Service, Depends(service_of)]) -> Response:
    """Ends the session of the cookie that was sent; without one there is nothing to end."""
    cookie = request.cookies.get(COOKIE)
    if cookie and service.access.sessions is not None:
        with queue_needed():
            await service.access.sessions.close(cookie)
    response = Response(status_code=204, headers={"Cache-Control": "no-store"})
    _set(response, request, "", 0)
    return response


def _set(response: Response, request: Request, value: str, seconds: int) -> None:
    response.set_cookie(
        COOKIE,
        value,
        max_age=seconds,
        path="/",
        httponly=True,
        samesite="strict",
        # Behind a proxy that ends TLS the page's own address says so in Origin, which browsers send with writes.
        secure=request.url.scheme == "https" or request.headers.get("origin", "").startswith("https://"),
    )
