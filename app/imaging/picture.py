"""What a decoded picture is, and what the parts of imaging owe each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

# uint8 (levels 0..255) or uint16 (levels 0..65535).
Pixels = npt.NDArray[Any]


class ImagingError(Exception):
    """A picture that cannot be read or written as asked.

    ``code`` is stable (callers branch on it), ``message`` is one or two sentences that say what to change.
    ``limit`` is the number that was passed, where there is one.
    """

    def __init__(self, code: str, message: str, *, limit: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.limit = limit


class UnsupportedPictureError(ImagingError):
    """Not a format or sample type that is read here (HTTP 415)."""


class BrokenPictureError(ImagingError):
    """Claims to be a picture, but is truncated or malformed (HTTP 422)."""


class PictureTooLargeError(ImagingError):
    """More pixels or bytes than a limit allows; known from the header, before decoding (HTTP 413)."""


class FormatCannotHoldError(ImagingError):
    """The asked output format cannot hold the size or alpha; the message says what to choose (HTTP 422)."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What travels with a picture besides its pixels. Every part may be missing."""

    icc: bytes | None = None
    """ICC profile that the pixels are in; None means sRGB."""
    exif: bytes | None = None
    """EXIF as a TIFF block (without the ``Exif\\0\\0`` prefix); orientation is 1, no thumbnail."""
    xmp: bytes | None = None
    """XMP packet (XML)."""
    dpi: tuple[float, float] | None = None
    """Resolution in pixels per inch, horizontal and vertical."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture, upright (EXIF orientation applied)."""

    pixels: Pixels
    """(height, width, channels), C-contiguous; 1 channel (grey) or 3 (RGB); uint8 or uint16."""
    alpha: Pixels | None
    """(height, width), same dtype as ``pixels``, straight (not premultiplied); None without alpha."""
    source_format: str
    """``png jpeg webp avif tiff bmp gif heic``."""
    metadata: Metadata = field(default_factory=Metadata)
    notices: tuple[str, ...] = ()
    """Things the caller must be told, e.g. ``first-frame-only``."""

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def channels(self) -> int:
        """1 (grey) or 3 (RGB); alpha is not counted."""
        return int(self.pixels.shape[2])

    @property
    def bits(self) -> int:
        """8 or 16 per sample."""
        return int(self.pixels.dtype.itemsize) * 8


@dataclass(frozen=True, slots=True)
class Layout:
    """What an encoder is told before the first row arrives."""

    width: int
    height: int
    channels: int
    """1 grey, 2 grey + alpha, 3 RGB, 4 RGB + alpha."""
    bits: int
    """8 or 16."""
    metadata: Metadata = field(default_factory=Metadata)
