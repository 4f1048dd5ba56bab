"""The bicubic resampling that published comparisons shrink and enlarge with: MATLAB's ``imresize``.

Source: R. Keys, "Cubic convolution interpolation for digital image processing", IEEE TASSP 1981, eq. 15, a = -0.5; when
shrinking, the kernel is stretched (antialiasing). Rows first, rounded and clipped to 8 bits, then columns. The service
must not import training, which has this too: a test compares the two.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from app.imaging.picture import Pixels

_Weights = npt.NDArray[np.float64]


def shrink(pixels: Pixels, scale: int) -> Pixels:
    """(H, W, C) uint8, H and W multiples of ``scale`` -> (H / scale, W / scale, C)."""
    return _both(pixels, 1.0 / scale)


def enlarge(pixels: Pixels, scale: int) -> Pixels:
    """(H, W, C) uint8 -> (H * scale, W * scale, C): what every model is compared with."""
    return _both(pixels, float(scale))


def _both(pixels: Pixels, factor: float) -> Pixels:
    columns = _rows(pixels, factor).swapaxes(0, 1)
    return np.ascontiguousarray(_rows(columns, factor).swapaxes(0, 1))


def _rows(pixels: Pixels, factor: float) -> Pixels:
    count = math.ceil(pixels.shape[0] * factor)
    places, weights = _taps(pixels.shape[0], count, factor)
    total = np.zeros((count, *pixels.shape[1:]), np.float32)
    for tap in range(places.shape[1]):
        total += weights[:, tap, None, None].astype(np.float32) * pixels[places[:, tap]]
    levels: Pixels = np.clip(np.floor(total + 0.5), 0, 255).astype(np.uint8)
    return levels


def _taps(length: int, count: int, factor: float) -> tuple[npt.NDArray[np.intp], _Weights]:
    """For each new sample: which old ones it is made of, and how much of each; rows of weights sum to 1."""
    stretch = max(1.0, 1.0 / factor)
    centre = (np.arange(count) + 0.5) / factor - 0.5
    places = np.floor(centre - 2 * stretch).astype(np.intp)[:, None] + np.arange(math.ceil(4 * stretch) + 2)[None, :]
    distance = np.abs(centre[:, None] - places) / stretch
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    weights = np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))
    weights /= weights.sum(axis=1, keepdims=True)
    # Beyond its ends the picture is mirrored, with its outermost sample repeated.
    folded = places % (2 * length)
    return np.minimum(folded, 2 * length - 1 - folded), weights
