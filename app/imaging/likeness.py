"""How alike two pictures are: PSNR and SSIM on luma, by the protocol of published comparisons.

The service must not import training, which has this too: a test compares the two.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from app.imaging.picture import Pixels

Plane = npt.NDArray[np.float64]

SMALLEST = 11
"""Pixels of height and width under which SSIM is not defined."""


def luma(pixels: Pixels) -> Plane:
    """Y of ITU-R BT.601 in studio range, rounded; (H, W, 1) is compared as it is. ``pixels``: uint8."""
    if pixels.shape[2] == 1:
        return pixels[:, :, 0].astype(np.float64)
    weights = np.array([65.481, 128.553, 24.966]) / 255
    plane: Plane = np.floor(pixels.astype(np.float64) @ weights + 16.5)
    return plane


def shaved(plane: Plane, border: int) -> Plane:
    """Without ``border`` pixels on each side: published results leave out as many as the scale."""
    return plane[border : plane.shape[0] - border, border : plane.shape[1] - border]


def psnr(first: Plane, second: Plane) -> float | None:
    """Peak signal-to-noise ratio in dB, peak 255; None for equal planes."""
    error = float(np.mean((first - second) ** 2))
    return 10 * math.log10(255**2 / error) if error else None


def ssim(first: Plane, second: Plane) -> float:
    """Structural similarity (Z. Wang et al. 2004, eq. 13): Gaussian window 11 x 11 of sigma 1.5, K1 = 0.01, K2 = 0.03,
    peak 255, windows wholly inside. Raises ValueError under ``SMALLEST`` pixels.
    """
    if min(first.shape) < SMALLEST:
        raise ValueError(f"SSIM needs {SMALLEST} pixels in each direction")
    window = np.exp(-((np.arange(SMALLEST) - 5.0) ** 2) / (2 * 1.5**2))
    window /= window.sum()

    def blurred(plane: Plane) -> Plane:
        down = np.lib.stride_tricks.sliding_window_view(plane, SMALLEST, axis=0) @ window
        across: Plane = np.lib.stride_tricks.sliding_window_view(down, SMALLEST, axis=1) @ window
        return across

    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean1, mean2 = blurred(first), blurred(second)
    spread1, spread2 = blurred(first**2) - mean1**2, blurred(second**2) - mean2**2
    common = blurred(first * second) - mean1 * mean2
    likeness = (2 * mean1 * mean2 + c1) * (2 * common + c2)
    return float(np.mean(likeness / ((mean1**2 + mean2**2 + c1) * (spread1 + spread2 + c2))))
