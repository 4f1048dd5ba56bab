"""Alpha: colours bled under transparent pixels, and the short-cut for constant alpha."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from app.imaging.picture import Pixels

# The pyramid's coarsest cell, in pixels, and how many of its cells colour spreads on that grid.
_LEVELS = 4
_COARSEST = 1 << _LEVELS
_SPREAD_CELLS = 4
# Colour thus reaches at least 64 px from the last visible pixel: more than the widest receptive field (40 px).
REACH = _COARSEST * _SPREAD_CELLS
# Rows and columns worked on at once, and what they read around them: the reach, plus the cells that the coarser
# levels add. Both are multiples of the coarsest cell, so that tiles see the same grid and meet without a seam.
_TILE = 512
_MARGIN = 2 * REACH

_Floats = npt.NDArray[np.float32]


def constant_alpha(alpha: Pixels) -> int | None:
    """The one level of an alpha plane (height, width), or None where it varies."""
    first = alpha[0, 0]
    for top in range(0, alpha.shape[0], 64):
        if not (alpha[top : top + 64] == first).all():
            return None
    return int(first)


def bleed(pixels: Pixels, alpha: Pixels) -> Pixels:
    """Pixels (height, width, channels) with the colours of visible neighbours under every transparent pixel.

    What lies under alpha 0 is arbitrary, often black, and a network would smear it into the visible edge: a halo.
    Pixels with alpha > 0 keep their values exactly. Transparent pixels up to REACH px from a visible one take the
    colour of what is nearest, smoothly; those farther away may keep theirs. Deterministic. Without a transparent
    or without a visible pixel the same array comes back, else a copy; beside it about 40 MB are used at a time.
    """
    return bleed_rows(pixels, alpha, first=0, top=0, bottom=pixels.shape[0])


def rows_for_bleeding(top: int, bottom: int, height: int) -> tuple[int, int]:
    """The rows that ``bleed_rows`` has to see for rows [top, bottom) of a picture of ``height``."""
    return max(0, top // _TILE * _TILE - _MARGIN), min(height, -(-bottom // _TILE) * _TILE + _MARGIN)


def bleed_rows(pixels: Pixels, alpha: Pixels, *, first: int, top: int, bottom: int) -> Pixels:
    """Rows [top, bottom) of what ``bleed`` makes of a whole picture, of which ``pixels`` and ``alpha`` hold the rows
    from ``first`` on, at least those of ``rows_for_bleeding``.
    """
    wanted = slice(top - first, bottom - first)
    hidden = alpha == 0
    if not hidden[wanted].any() or hidden.all():
        return pixels if bottom - top == pixels.shape[0] else pixels[wanted]
    out = pixels.copy()
    height, width = alpha.shape
    for row in range(top // _TILE * _TILE - first, bottom - first, _TILE):
        for left in range(0, width, _TILE):
            tile = (slice(row, min(row + _TILE, height)), slice(left, min(left + _TILE, width)))
            if hidden[tile].any():
                _fill_tile(out, pixels, hidden, tile)
    return out[wanted]


def _fill_tile(out: Pixels, pixels: Pixels, hidden: npt.NDArray[np.bool_], tile: tuple[slice, slice]) -> None:
    window = tuple(
        slice(max(0, side.start - _MARGIN), min(edge, side.stop + _MARGIN))
        for side, edge in zip(tile, hidden.shape, strict=True)
    )
    known = ~hidden[window]
    if not known.any():
        return
    filled, reached = _spread(pixels[window], known)
    inner = tuple(
        slice(side.start - around.start, side.stop - around.start) for side, around in zip(tile, window, strict=True)
    )
    take = hidden[tile] & reached[inner]
    levels = np.iinfo(pixels.dtype).max
    out[tile][take] = np.rint(np.clip(filled[inner][take], 0, levels)).astype(pixels.dtype)


def _spread(pixels: Pixels, known: npt.NDArray[np.bool_]) -> tuple[_Floats, npt.NDArray[np.bool_]]:
    """(colours everywhere, where they mean something), from the pixels that are known.

    Down a pyramid of means over what is known, a few steps of dilation on its coarsest grid, and up again: each
    cell without a colour of its own takes the weighted mean of the nearest cells one level coarser. Near the edge
    that is a cell of two pixels, far away one of sixteen.
    """
    height, width = known.shape
    padding = ((0, -height % _COARSEST), (0, -width % _COARSEST))
    weights = [np.pad(known, padding).astype(np.float32)]
    colours = [np.pad(pixels, (*padding, (0, 0))).astype(np.float32) * weights[0][:, :, None]]
    for _ in range(_LEVELS):
        total = _halve(weights[-1])
        mean = _halve(colours[-1] * weights[-1][:, :, None])
        weights.append((total > 0).astype(np.float32))
        colours.append(mean / np.maximum(total, 1)[:, :, None])
    for _ in range(_SPREAD_CELLS + 1):
        _dilate(colours[-1], weights[-1])
    for level in range(_LEVELS - 1, -1, -1):
        weighted, total = _enlarge(colours[level + 1], weights[level + 1])
        take = (weights[level] == 0) & (total > 0)
        colours[level][take] = weighted[take] / total[take][:, None]
        weights[level][take] = 1
    return colours[0][:height, :width], weights[0][:height, :width] > 0


def _halve(grid: _Floats) -> _Floats:
    """Sums over cells of 2 x 2."""
    return grid[::2, ::2] + grid[1::2, ::2] + grid[::2, 1::2] + grid[1::2, 1::2]


def _dilate(colours: _Floats, weights: _Floats) -> None:
    """Gives each empty cell the mean of its non-empty neighbours, in place."""
    rows, columns = weights.shape
    total = np.zeros((rows + 2, columns + 2), np.float32)
    mean = np.zeros((rows + 2, columns + 2, colours.shape[2]), np.float32)
    weighted = colours * weights[:, :, None]
    for down in range(3):
        for right in range(3):
            total[down : down + rows, right : right + columns] += weights
            mean[down : down + rows, right : right + columns] += weighted
    total, mean = total[1:-1, 1:-1], mean[1:-1, 1:-1]
    take = (weights == 0) & (total > 0)
    colours[take] = mean[take] / total[take][:, None]
    weights[take] = 1


def _enlarge(colours: _Floats, weights: _Floats) -> tuple[_Floats, _Floats]:
    """(weighted colours, weights) on a grid twice as fine, bilinear: 9/16, 3/16, 3/16 and 1/16 of four cells."""
    total = _double(_double(weights[:, :, None], 0), 1)
    weighted = _double(_double(colours * weights[:, :, None], 0), 1)
    return weighted, total[:, :, 0]


def _double(grid: _Floats, axis: int) -> _Floats:
    """Twice as many cells along an axis: 3/4 of the own cell and 1/4 of the neighbour on that side."""
    grid = np.moveaxis(grid, axis, 0)
    before = np.concatenate([grid[:1], grid[:-1]])
    after = np.concatenate([grid[1:], grid[-1:]])
    out = np.empty((2 * grid.shape[0], *grid.shape[1:]), np.float32)
    out[::2] = 0.75 * grid + 0.25 * before
    out[1::2] = 0.75 * grid + 0.25 * after
    return np.moveaxis(out, 0, axis)
