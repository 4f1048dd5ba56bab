"""PSNR and SSIM on luma, as every published comparison computes them (design section 7); chroma."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Image8 = npt.NDArray[np.uint8]
Plane = npt.NDArray[np.float64]


def luma(image: Image8, *, grey_as_rgb: bool = False) -> Plane:
    """Y of ITU-R BT.601 in studio range, rounded: 16 + (65.481 R + 128.553 G + 24.966 B) / 255.

    ``image`` is (H, W, 3) RGB, or (H, W) / (H, W, 1), which is compared as it is unless ``grey_as_rgb``.
    """
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if image.ndim == 2:
        if not grey_as_rgb:
            return image.astype(np.float64)
        image = np.repeat(image[:, :, None], 3, axis=2)
    weights = np.array([65.481, 128.553, 24.966]) / 255.0
    return np.floor(image.astype(np.float64) @ weights + 16.0 + 0.5)


def chroma(image: Image8) -> Plane:
    """(H, W, 3) RGB -> (H, W, 2) Cb and Cr of ITU-R BT.601 in studio range, not rounded; 0 is grey, 112 the most."""
    weights = np.array([[-37.797, 112.0], [-74.203, -93.786], [112.0, -18.214]]) / 255.0
    return image.astype(np.float64) @ weights


def shave(plane: Plane, border: int) -> Plane:
    """``plane`` without ``border`` pixels on each side; the published results shave ``scale`` pixels."""
    return plane[border : plane.shape[0] - border, border : plane.shape[1] - border] if border else plane


def psnr(first: Plane, second: Plane) -> float:
    """Peak signal-to-noise ratio in dB of two equal-sized planes with peak 255; infinite when they are equal."""
    if first.shape != second.shape:
        raise ValueError(f"cannot compare {first.shape} with {second.shape}")
    error = float(np.mean((first - second) ** 2))
    return math.inf if error == 0.0 else 10.0 * math.log10(255.0**2 / error)


def _gaussian_filter(plane: Plane, window: npt.NDArray[np.float64]) -> Plane:
    rows = np.lib.stride_tricks.sliding_window_view(plane, window.size, axis=0) @ window
    return np.lib.stride_tricks.sliding_window_view(rows, window.size, axis=1) @ window


def ssim(first: Plane, second: Plane) -> float:
    """Structural similarity, Z. Wang et al. 2004, eq. 13: 11x11 Gaussian of sigma 1.5, K1 = 0.01, K2 = 0.03, peak 255.

    Windows lie wholly inside the picture (MATLAB's ``valid``). Raises ``ValueError`` under 11 pixels.
    """
    if first.shape != second.shape:
        raise ValueError(f"cannot compare {first.shape} with {second.shape}")
    if min(first.shape) < 11:
        raise ValueError("SSIM needs at least 11 pixels in each direction")
    window = np.exp(-((np.arange(11) - 5.0) ** 2) / (2.0 * 1.5**2))
    window /= window.sum()
    c1, c2 = (0.01 * 255.0) ** 2, (0.03 * 255.0) ** 2
    mean1, mean2 = _gaussian_filter(first, window), _gaussian_filter(second, window)
    variance1 = _gaussian_filter(first * first, window) - mean1**2
    variance2 = _gaussian_filter(second * second, window) - mean2**2
    covariance = _gaussian_filter(first * second, window) - mean1 * mean2
    similarity = ((2 * mean1 * mean2 + c1) * (2 * covariance + c2)) / (
        (mean1**2 + mean2**2 + c1) * (variance1 + variance2 + c2)
    )
    return float(similarity.mean())
