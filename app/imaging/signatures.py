"""Which format a file is, from its first bytes; names and content types are never trusted."""

from __future__ import annotations

from typing import BinaryIO

from app.imaging.picture import BrokenPictureError, UnsupportedPictureError

_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_CONTAINER_BRANDS = frozenset({b"mif1", b"msf1", b"miaf"})
_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"BM", "bmp"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),
    (b"MM\0+", "tiff"),
)
READ_FORMATS = "PNG, JPEG, WebP, AVIF, TIFF, BMP, GIF or HEIC"


def sniff(file: BinaryIO) -> str:
    """One of ``png jpeg webp avif tiff bmp gif heic``; the file position is 0 before and after.

    Raises BrokenPictureError ``empty_file`` for no bytes at all, else UnsupportedPictureError
    ``unsupported_format``.
    """
    file.seek(0)
    start = file.read(64)
    file.seek(0)
    if not start:
        raise BrokenPictureError("empty_file", "The file is empty. Send the bytes of a picture.")
    for signature, name in _SIGNATURES:
        if start.startswith(signature):
            return name
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "webp"
    if start[4:8] == b"ftyp":
        brand = _iso_brand(start)
        if brand is not None:
            return brand
    raise UnsupportedPictureError(
        "unsupported_format", f"This is not a picture in a format that is read here. Send {READ_FORMATS}."
    )


def _iso_brand(start: bytes) -> str | None:
    """AVIF and HEIC share a container; the brands in its first box tell them apart."""
    box_end = min(int.from_bytes(start[:4], "big"), len(start))
    brands = [start[8:12], *(start[at : at + 4] for at in range(16, box_end - 3, 4))]
    if brands[0] not in _HEIC_BRANDS | _AVIF_BRANDS | _CONTAINER_BRANDS:
        return None
    if any(brand in _AVIF_BRANDS for brand in brands):
        return "avif"
    return "heic"
