"""Through libvips: 16-bit pictures, which Pillow reduces to 8 bits or cannot read, and large ones, which it would hold
whole.

Import it only when such a picture arrives: loading libvips costs a tenth of a second and 30 MB.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np
import pyvips

from app.imaging.picture import Pixels

# libvips keeps recent operations with their pixels; a server wants that memory back.
pyvips.cache_set_max(0)

# What every call into libvips may raise.
Error = pyvips.Error

_BAND_ROWS = 64


def open_rows(file: BinaryIO, name: str, *, bits: int) -> Any:
    """A libvips image of 8- or 16-bit samples, opened with the loader for ``jpeg``, ``png`` or ``tiff`` and no other.

    Rows can be read once, top to bottom, and few are in memory at a time. Raises pyvips.Error and ValueError on
    anything malformed.
    """
    loaders: dict[str, Callable[..., Any]] = {
        "jpeg": pyvips.Image.jpegload_buffer,
        "png": pyvips.Image.pngload_buffer,
        "tiff": pyvips.Image.tiffload_buffer,
    }
    # libjpeg warns of much that does not touch the pixels. For the others "error" is too little: it lets missing tiles
    # of a truncated TIFF pass as black.
    fail_on = "error" if name == "jpeg" else "warning"
    image = loaders[name](_bytes_of(file), access="sequential", fail_on=fail_on)
    expected = "ushort" if bits == 16 else "uchar"
    if image.format != expected:
        raise ValueError(f"expected {bits}-bit samples, libvips found {image.format}")
    return image


def bands(image: Any) -> Iterator[tuple[int, Pixels]]:
    """(first row, rows as (n, width, samples)) from top to bottom."""
    kind = np.uint16 if image.format == "ushort" else np.uint8
    region = pyvips.Region.new(image)
    for top in range(0, image.height, _BAND_ROWS):
        rows = min(_BAND_ROWS, image.height - top)
        data = region.fetch(0, top, image.width, rows)
        yield top, np.frombuffer(data, kind).reshape(rows, image.width, image.bands)


def to_srgb_16(pixels: Pixels, icc: bytes) -> Pixels:
    """(n, width, 1|3) uint16 in the profile ``icc`` to (n, width, 3) uint16 in sRGB. Raises Error."""
    height, width, samples = pixels.shape
    interpretation = "grey16" if samples == 1 else "rgb16"
    data = np.ascontiguousarray(pixels)
    image = pyvips.Image.new_from_memory(data.data, width, height, samples, "ushort")
    image = image.copy(interpretation=interpretation)
    image.set_type(pyvips.GValue.blob_type, "icc-profile-data", icc)
    converted = image.icc_transform("srgb", embedded=True, intent="relative", black_point_compensation=True, depth=16)
    out = np.frombuffer(converted.write_to_memory(), np.uint16).reshape(height, width, converted.bands)
    return np.repeat(out, 3, axis=2) if converted.bands == 1 else out


def _bytes_of(file: BinaryIO) -> Any:
    """The whole file: mapped where it is a real one, else read. libvips keeps it as long as it needs it.

    Not a libvips source with callbacks into Python: pyvips aborts the process when those are collected first.
    """
    try:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError, AttributeError):
        file.seek(0)
        return file.read()
