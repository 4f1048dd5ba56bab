"""MATLAB's ``imresize``: the bicubic resampling that every published super-resolution result is made with.

Source: R. Keys, "Cubic convolution interpolation for digital image processing", IEEE TASSP 1981, eq. 15 with
a = -0.5; when shrinking, the kernel is stretched by the scale (antialiasing), as MATLAB does.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Image8 = npt.NDArray[np.uint8]


def keys_cubic(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The cubic convolution kernel with a = -0.5 (torch and ONNX default to -0.75, which is 0.2 dB off)."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return np.where(x <= 1.0, near, np.where(x < 2.0, far, 0.0))


def axis_weights(length: int, out_length: int, factor: float) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """Source indices and weights for each output sample of one axis.

    Returns ``(indices, weights)``, both of shape (out_length, taps); the weights of a row sum to 1. Indices beyond
    the ends are mirrored, the edge sample repeated, as in MATLAB.
    """
    stretch = max(1.0, 1.0 / factor)
    taps = math.ceil(4.0 * stretch) + 2
    centre = (np.arange(out_length) + 0.5) / factor - 0.5
    first = np.floor(centre - 2.0 * stretch).astype(np.intp)
    indices = first[:, None] + np.arange(taps)[None, :]
    weights = keys_cubic((centre[:, None] - indices) / stretch)
    weights /= weights.sum(axis=1, keepdims=True)
    used = np.any(weights != 0.0, axis=0)
    return mirror(indices, length)[:, used], weights[:, used]


def mirror(indices: npt.NDArray[np.intp], length: int) -> npt.NDArray[np.intp]:
    """Indices beyond the ends of an axis, turned back inside with the edge sample repeated: -1 -> 0, -2 -> 1."""
    folded = np.mod(indices, 2 * length)
    return np.minimum(folded, 2 * length - 1 - folded)


def _resize_rows(image: npt.NDArray[np.uint8], factor: float) -> Image8:
    out_length = math.ceil(image.shape[0] * factor)
    indices, weights = axis_weights(image.shape[0], out_length, factor)
    # For the integer scales the weights are multiples of 2**-13, so float32 sums them without rounding.
    total = np.zeros((out_length, *image.shape[1:]), np.float32)
    tail = (1,) * (image.ndim - 1)
    for tap in range(indices.shape[1]):
        total += weights[:, tap].astype(np.float32).reshape(-1, *tail) * image[indices[:, tap]]
    np.add(total, 0.5, out=total)
    np.floor(total, out=total)
    return np.clip(total, 0, 255, out=total).astype(np.uint8)


def matlab_resize(image: Image8, factor: float) -> Image8:
    """Resizes (H, W) or (H, W, C) uint8 by ``factor`` to (ceil(H * factor), ceil(W * factor)).

    Rows first, rounded and clipped to 8 bit, then columns: equals the LR files of Set5 and Set14 exactly, except
    for the outermost 3 pixels.
    """
    if image.dtype != np.uint8:
        raise TypeError(f"matlab_resize takes uint8, not {image.dtype}")
    rows = _resize_rows(image, factor)
    return np.ascontiguousarray(_resize_rows(rows.swapaxes(0, 1), factor).swapaxes(0, 1))


def shrink(image: Image8, scale: int) -> Image8:
    """The LR of the protocol: ``image`` cut from the top left to multiples of ``scale``, then shrunk by it."""
    height, width = (side - side % scale for side in image.shape[:2])
    return matlab_resize(image[:height, :width], 1.0 / scale)
