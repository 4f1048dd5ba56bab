"""16-bit pictures, which Pillow reduces to 8 bits or cannot read, through libvips.

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


def open_16(file: BinaryIO, name: str) -> Any:
    """A libvips image of 16-bit samples, opened with the loader for ``png`` or ``tiff`` and no other.

    Rows can be read once, top to bottom. Raises pyvips.Error and ValueError on anything malformed.
    """
    loaders: dict[str, Callable[..., Any]] = {
        "png": pyvips.Image.pngload_buffer,
        "tiff": pyvips.Image.tiffload_buffer,
    }
    # "error" lets missing tiles of a truncated TIFF pass as black.
    image = loaders[name](_bytes_of(file), access="sequential", fail_on="warning")
    if image.format != "ushort":
        raise ValueError(f"expected 16-bit samples, libvips found {image.format}")
    return image


def bands(image: Any) -> Iterator[tuple[int, Pixels]]:
    """(first row, rows as (n, width, samples) uint16) from top to bottom."""
    region = pyvips.Region.new(image)
    for top in range(0, image.height, _BAND_ROWS):
        rows = min(_BAND_ROWS, image.height - top)
        data = region.fetch(0, top, image.width, rows)
        yield top, np.frombuffer(data, np.uint16).reshape(rows, image.width, image.bands)


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
