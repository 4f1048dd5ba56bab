"""What a viewer shows beside a huge result: tiles of the source's bicubic enlargement, computed when they are asked
for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import BinaryIO

import numpy as np
from PIL import Image

from app.imaging.bands import SourceLayout, read_rows
from app.imaging.picture import Layout, Pixels
from app.imaging.pyramid import TILE, PyramidReader, PyramidWriter, TileCoder, levels_of
from app.imaging.row_counter import to_8_bit

# Source rows read at once for the source's own pyramid.
_ROWS = 512
# Pillow's bicubic has a = -0.5 and reaches two pixels to each side; it reaches further where it shrinks, at most twice
# here.
_REACH = 6


def write_source_pyramid(
    layout: SourceLayout, get: Callable[[int], bytes], file: BinaryIO, *, threads: int = 1
) -> None:
    """The pyramid of the source itself, from which ``bicubic_tile`` takes what is shown smaller than the source is."""
    described = Layout(layout.width, layout.height, layout.channels, layout.bits, layout.metadata)
    writer = PyramidWriter(file, described, threads=threads)
    try:
        for top in range(0, layout.height, _ROWS):
            picture = read_rows(layout, get, top, min(layout.height, top + _ROWS))
            writer.write(_together(picture.pixels, picture.alpha))
        writer.finish()
    finally:
        writer.close()


def bicubic_tile(
    layout: SourceLayout,
    get: Callable[[int], bytes],
    source: PyramidReader,
    *,
    size: tuple[int, int],
    box: tuple[float, float, float, float],
    tile: tuple[int, int, int],
) -> tuple[bytes, str]:
    """(bytes, media type) of the tile (level, column, row) of the pyramid that the bicubic enlargement would have.

    ``size``: width and height of the result, whose pyramid has the same tiles; ``box``: what of the source becomes it,
    left, top, right, bottom in source pixels. Exact, from the bands that ``get`` gives, where a tile's pixel is no
    larger than a source pixel; else from ``source``, what ``write_source_pyramid`` wrote. Raises IndexError for a tile
    that there is not.
    """
    level, column, row = tile
    levels = levels_of(*size)
    if not 0 <= level < len(levels) or not (0 <= column < levels[level].columns and 0 <= row < levels[level].rows):
        raise IndexError(tile)
    shape = levels[level].size_of(column, row)
    # Source pixels per pixel of this level, across and down.
    steps = (box[2] - box[0]) / size[0] * 2**level, (box[3] - box[1]) / size[1] * 2**level
    left, top = box[0] + column * TILE * steps[0], box[1] + row * TILE * steps[1]
    window = left, top, left + shape[0] * steps[0], top + shape[1] * steps[1]
    deep = min(len(source.levels) - 1, max(0, math.floor(math.log2(max(steps)) + 1e-9)))
    whole = source.levels[deep]
    shrunk = whole.width / layout.width, whole.height / layout.height
    # A tile at the border may reach half a pixel of a coarse level beyond the picture.
    across = _inside(window[0] * shrunk[0], window[2] * shrunk[0], whole.width)
    down = _inside(window[1] * shrunk[1], window[3] * shrunk[1], whole.height)
    first = [max(0, math.floor(low) - _REACH) for low in (across[0], down[0])]
    last = [min(most, math.ceil(high) + _REACH) for high, most in ((across[1], whole.width), (down[1], whole.height))]
    if deep == 0:
        picture = read_rows(layout, get, first[1], last[1])
        region = _together(picture.pixels, picture.alpha)[:, first[0] : last[0]]
    else:
        region = source.region(deep, first[0], first[1], last[0], last[1])
    region = np.ascontiguousarray(to_8_bit(region))
    image = Image.fromarray(region[:, :, 0] if region.shape[2] == 1 else region)
    part = across[0] - first[0], down[0] - first[1], across[1] - first[0], down[1] - first[1]
    enlarged = np.asarray(image.resize(shape, Image.Resampling.BICUBIC, part))
    coder = TileCoder(layout.channels, layout.metadata.icc)
    return coder(enlarged if enlarged.ndim == 3 else enlarged[:, :, np.newaxis]), coder.media_type


def _inside(low: float, high: float, most: int) -> tuple[float, float]:
    high = min(high, float(most))
    return max(0.0, min(low, high - 1e-3)), high


def _together(pixels: Pixels, alpha: Pixels | None) -> Pixels:
    return pixels if alpha is None else np.dstack([pixels, alpha])
