"""The HTTP application: routes, layers and error handlers, put together."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response

from app import __version__
from app.api import discovery, evaluations, jobs, models, options, probes, reference, session, shared, uploads, upscale
from app.api.callers import CallerCheck
from app.api.fallbacks import CatchAll, HeadAsGet
from app.api.openapi import describe
from app.api.page import page_router
from app.api.problems import Problem, handle_problem, of_validation
from app.api.request_id import RequestId
from app.api.security import HostCheck, OriginCheck, SecurityHeaders
from app.api.service import Service
from app.api.small_body import SmallBody
from app.api.unread_body import UnreadBody
from app.imaging.picture import ImagingError
from app.inference.errors import InferenceError
from app.jobs.egress import EgressError
from app.jobs.errors import JobsError
from app.storage import StorageError

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def build_application(service: Service, lifespan: Lifespan) -> FastAPI:
    """The application around a service; ``lifespan`` starts and stops it."""
    app = FastAPI(
        title="Chetko",
        version=__version__,
        summary="Enlarges pictures 2x and 4x from a single source image, natural and sharp.",
        docs_url=None,  # FastAPI's pages load scripts from other hosts
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        # The outermost first. Refusals by a layer pass through those above it, so they too carry an id, the
        # security headers and the manners of UnreadBody.
        middleware=[
            Middleware(RequestId),
            Middleware(SecurityHeaders),
            Middleware(UnreadBody),
            Middleware(HostCheck, allowed=service.settings.allowed_hosts),
            Middleware(OriginCheck, allowed=service.settings.cors_origins),
            *_cors(service),
            Middleware(HeadAsGet),
            Middleware(CatchAll),
            Middleware(CallerCheck),
            Middleware(
                SmallBody,
                max_body_bytes=service.settings.max_body_bytes,
                idle_seconds=service.settings.receive_idle_seconds,
            ),
        ],
    )
    app.state.service = service
    for kind in (Problem, ImagingError, InferenceError, JobsError, StorageError, EgressError, HTTPException):
        app.add_exception_handler(kind, handle_problem)
    app.add_exception_handler(RequestValidationError, _handle_validation)
    app.include_router(upscale.router)
    app.include_router(jobs.router)
    app.include_router(models.router)
    app.include_router(discovery.router)
    app.include_router(probes.router)
    app.include_router(session.router)
    app.include_router(evaluations.router)
    app.include_router(shared.router)
    app.include_router(uploads.router)
    app.include_router(reference.router)
    app.include_router(page_router())
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _cors(service: Service) -> list[Middleware]:
    """Other sites' pages may call with a key where the operator names them; never with a cookie."""
    if not service.settings.cors_origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=service.settings.cors_origins,
            allow_methods=("GET", "HEAD", "POST", "PUT", "DELETE"),
            allow_headers=(
                "Authorization", "X-API-Key", "Content-Type", "Prefer", "Idempotency-Key", "If-None-Match", "Range",
                "Last-Event-ID", "X-Request-Id",
            ),
            expose_headers=(
                "Location", "Content-Disposition", "Retry-After", "Preference-Applied", "RateLimit", "RateLimit-Policy",
                "Server-Timing", "X-Chetko-Model", "X-Chetko-Notice", "X-Request-Id",
            ),
        )
    ]  # fmt: skip


async def _handle_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class only
    return of_validation(error, options.NAMES).response(request.scope)


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        app.openapi_schema = describe(app)
    return app.openapi_schema
