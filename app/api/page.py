"""The page at ``/`` and its files, held in memory: there is no path to traverse and no disk to wait for."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.problems import NotFoundProblem

WEB = Path(__file__).parent.parent / "web"

# Not from the mimetypes module: it reads the machine's registry, which on some machines calls scripts
# text/plain.
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".webmanifest": "application/manifest+json",
}


@dataclass(frozen=True, slots=True)
class _Asset:
    content: bytes
    media_type: str
    etag: str


def page_router(folder: Path = WEB) -> APIRouter:
    """Serves ``index.html`` at ``/`` and every file of ``folder`` below ``/static/``."""
    assets = {
        path.relative_to(folder).as_posix(): _read(path)
        for path in sorted(folder.rglob("*"))
        if path.suffix in MEDIA_TYPES and path.is_file()
    }
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def index(request: Request) -> Response:
        return _answer(request, assets["index.html"])

    @router.get("/favicon.ico")
    async def favicon(request: Request) -> Response:
        return _answer(request, assets["icon.svg"])

    @router.get("/static/{name:path}")
    async def static(name: str, request: Request) -> Response:
        if name not in assets:
            raise NotFoundProblem(f"There is no file {name[:80]!r} here.")
        return _answer(request, assets[name])

    return router


def _read(path: Path) -> _Asset:
    content = path.read_bytes()
    return _Asset(content, MEDIA_TYPES[path.suffix], f'"{hashlib.sha256(content).hexdigest()[:24]}"')


def _answer(request: Request, asset: _Asset) -> Response:
    # no-cache: kept, but asked for again each time; the ETag makes that cheap, and an update never mixes
    # versions.
    headers = {"ETag": asset.etag, "Cache-Control": "no-cache"}
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if asset.etag in known or known == ["*"]:
        return Response(status_code=304, headers=headers)
    return Response(asset.content, media_type=asset.media_type, headers=headers)
