"""Rows of a picture to rows of a smaller one, antialiased (Lanczos, three lobes), without ever holding the whole."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from PIL import Image

from app.imaging.picture import Pixels

_LOBES = 3
# Rows of the result computed at once. They always begin at multiples of it: what comes out does not depend on how the
# rows that go in are grouped.
_BLOCK = 64


def resampled(
    bands: Iterator[Pixels],
    *,
    colours: int,
    source: tuple[int, int],
    box: tuple[float, float, float, float],
    size: tuple[int, int],
) -> Iterator[Pixels]:
    """Rows (n, size[0], channels) of the same type, ``size[1]`` of them in all, made of ``box`` (left, top, right,
    bottom) of the picture of ``source`` = (width, height) whose rows ``bands`` brings. The size is no larger than the
    box.

    ``colours``: how many channels (1 or 3) go together; one more is alpha, taken as straight: colours must mean
    something where it is 0. The same pixels however the bands are cut. Memory: bands, and rows of the new width as high
    as 64 rows of the result and the filter around them. Bands below the box are taken and passed over.
    """
    left, top, right, bottom = box
    across, down = (right - left) / size[0], (bottom - top) / size[1]
    margin = math.ceil(_LOBES * down) + 1
    held: list[Pixels] = []
    first = coming = 0  # the picture's row that is the first held, and the next to come
    for out_top in range(0, size[1], _BLOCK):
        out_bottom = min(size[1], out_top + _BLOCK)
        window = top + out_top * down, min(source[1], top + out_bottom * down)
        low, high = max(0, math.floor(window[0]) - margin), min(source[1], math.ceil(window[1]) + margin)
        while held and first + held[0].shape[0] <= low:
            first += held.pop(0).shape[0]
        while coming < high:
            band = next(bands)
            coming += band.shape[0]
            if coming <= low:
                first = coming
                continue
            if across != 1 or (left, right) != (0, source[0]):
                band = _resize(band, colours, (size[0], band.shape[0]), (left, 0, right, band.shape[0]))
            held.append(band)
        rows = held[0] if len(held) == 1 else np.concatenate(held)
        rows = rows[low - first : high - first]
        if down != 1 or top != 0:
            height = out_bottom - out_top
            rows = _resize(rows, colours, (size[0], height), (0, window[0] - low, size[0], window[1] - low))
        else:
            rows = rows[out_top - low : out_bottom - low]
        yield _levels(rows, np.dtype(np.uint8 if rows.dtype == np.uint8 else np.uint16))
    for _ in bands:
        pass


def _resize(rows: Pixels, colours: int, size: tuple[int, int], box: tuple[float, float, float, float]) -> Pixels:
    """Rows of another size: uint8 as uint8, uint16 as float32 levels that were not rounded yet."""
    if rows.dtype == np.uint8:
        # Alpha apart: Pillow would multiply colours with it and divide again.
        parts = [(0, colours), (colours, rows.shape[2])] if rows.shape[2] > colours else [(0, colours)]
    else:
        rows = rows.astype(np.float32, copy=False)
        parts = [(channel, channel + 1) for channel in range(rows.shape[2])]
    out = np.empty((size[1], size[0], rows.shape[2]), rows.dtype)
    for low, high in parts:
        plane = np.ascontiguousarray(rows[:, :, low] if high - low == 1 else rows[:, :, low:high])
        image = Image.fromarray(plane).resize(size, Image.Resampling.LANCZOS, box)
        out[:, :, low:high] = np.asarray(image).reshape(size[1], size[0], high - low)
    return out


def _levels(rows: Pixels, kind: np.dtype[np.uint8 | np.uint16]) -> Pixels:
    if rows.dtype == kind:
        return rows
    levels: Pixels = np.rint(np.clip(rows, 0, np.iinfo(kind).max)).astype(kind)
    return levels
