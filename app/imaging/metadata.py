"""What travels beside the pixels: taken from a source, made fit for an output."""

from __future__ import annotations

import math
import re
from dataclasses import replace

from PIL import Image

from app.imaging import exif as exif_block
from app.imaging.picture import Metadata

_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation\s*(?:=\s*[\"']|>)\s*)[1-8](\s*(?:[\"']|<))")
_XMP_SIZE = re.compile(
    rb"((?:tiff:Image(Width|Length)|exif:Pixel([XY])Dimension)\s*(?:=\s*[\"']|>)\s*)\d+(\s*(?:[\"']|<))"
)
_XMP_RESOLUTION = re.compile(rb"(tiff:[XY]Resolution\s*(?:=\s*[\"']|>)\s*)(\d{1,9})/(\d{1,9})(\s*(?:[\"']|<))")


def read_exif(image: Image.Image) -> bytes | None:
    """The EXIF block (no prefix) as the file stores it, of an opened image of any format but TIFF."""
    block = image.info.get("exif")
    if isinstance(block, bytes) and block:
        return exif_block.without_prefix(block)
    # The way ImageMagick wrote EXIF into PNG before eXIf existed: a name, a length, then hexadecimal lines.
    text = image.info.get("Raw profile type exif")
    if isinstance(text, str):
        try:
            return exif_block.without_prefix(bytes.fromhex("".join(text.split("\n")[3:])))
        except ValueError:
            return None
    return None


def read_metadata(image: Image.Image) -> Metadata:
    """All of an opened image's metadata, orientation already reset; TIFF's EXIF is read elsewhere."""
    icc = image.info.get("icc_profile")
    exif = read_exif(image)
    return Metadata(
        icc=icc if isinstance(icc, bytes) and len(icc) >= 128 else None,
        exif=exif_block.upright(exif),
        xmp=upright_xmp(_read_xmp(image)),
        dpi=_read_dpi(image, exif),
    )


def _read_xmp(image: Image.Image) -> bytes | None:
    for key in ("xmp", "XML:com.adobe.xmp"):
        packet = image.info.get(key)
        if isinstance(packet, str):
            packet = packet.encode()
        if isinstance(packet, bytes) and packet:
            return packet.rstrip(b"\0")
    return None


def _read_dpi(image: Image.Image, exif: bytes | None) -> tuple[float, float] | None:
    # WebP, AVIF and HEIC have no other place for it than EXIF.
    dpi = image.info.get("dpi") or exif_block.resolution(exif)
    try:
        horizontal, vertical = (float(value) for value in dpi)  # type: ignore[union-attr]
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return plausible_dpi((horizontal, vertical))


def plausible_dpi(dpi: tuple[float, float]) -> tuple[float, float] | None:
    """None for what no device has: 0 and 1 mean "unknown" in the wild, NaN and infinity a broken rational."""
    if all(math.isfinite(value) and 1 < value <= 1e6 for value in dpi):
        return dpi
    return None


def upright_xmp(xmp: bytes | None) -> bytes | None:
    """The same packet with tiff:Orientation 1."""
    return _XMP_ORIENTATION.sub(rb"\g<1>1\g<2>", xmp) if xmp else None


def for_output(metadata: Metadata, *, scale: float, width: int, height: int, keep: bool) -> Metadata:
    """Metadata for the enlarged picture of ``width`` x ``height`` px: resolution scaled, sizes updated.

    The physical size stays: 300 dpi enlarged 4 times is 1,200 dpi. ``keep`` False gives empty metadata;
    convert the pixels with ``app.imaging.colour.to_srgb`` first, or colours change with the dropped profile.
    """
    if not keep:
        return Metadata()
    dpi = metadata.dpi and plausible_dpi((metadata.dpi[0] * scale, metadata.dpi[1] * scale))
    return replace(
        metadata,
        dpi=dpi,
        exif=exif_block.resized(metadata.exif, scale=scale, width=width, height=height),
        xmp=_resized_xmp(metadata.xmp, scale=scale, width=width, height=height),
    )


def _resized_xmp(xmp: bytes | None, *, scale: float, width: int, height: int) -> bytes | None:
    if not xmp:
        return None

    def size(match: re.Match[bytes]) -> bytes:
        horizontal = match[2] == b"Width" or match[3] == b"X"
        return match[1] + str(width if horizontal else height).encode() + match[4]

    def resolution(match: re.Match[bytes]) -> bytes:
        return match[1] + str(round(int(match[2]) * scale)).encode() + b"/" + match[3] + match[4]

    return _XMP_RESOLUTION.sub(resolution, _XMP_SIZE.sub(size, xmp))
