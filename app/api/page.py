"""The page at ``/`` and its files, held in memory: there is no path to traverse and no disk to wait for."""

from __future__ import annotations

import gzip
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
    ".webp": "image/webp",
    ".md": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
}

PACKED = (".png", ".jpg", ".webp")
"""What gzip would only make larger."""


@dataclass(frozen=True, slots=True)
class _Asset:
    content: bytes
    packed: bytes | None
    """The same by gzip; None for what is compressed already."""
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
    packed = None if path.suffix in PACKED else gzip.compress(content, 9, mtime=0)
    return _Asset(content, packed, MEDIA_TYPES[path.suffix], hashlib.sha256(content).hexdigest()[:24])


def _answer(request: Request, asset: _Asset) -> Response:
    content, etag = asset.content, f'"{asset.etag}"'
    # no-cache: kept, but asked for again each time; the ETag makes that cheap, and an update never mixes
    # versions.
    headers = {"Cache-Control": "no-cache"}
    if asset.packed is not None:
        headers["Vary"] = "Accept-Encoding"
        if _takes_gzip(request.headers.get("accept-encoding", "")):
            content, etag = asset.packed, f'"{asset.etag}-gzip"'  # other bytes, so another tag
            headers["Content-Encoding"] = "gzip"
    headers["ETag"] = etag
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if etag in known or known == ["*"]:
        headers.pop("Content-Encoding", None)
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=asset.media_type, headers=headers)


def _takes_gzip(accepted: str) -> bool:
    """Whether an ``Accept-Encoding`` header names gzip, other than to refuse it."""
    for part in accepted.lower().split(","):
        coding, _, weight = part.partition(";")
        if coding.strip() == "gzip":
            return weight.replace(" ", "").strip() not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
