"""What the classical methods share: luma alone is restored, in patches, and must shrink to the given picture again;
what was learned is kept beside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.evaluation.datasets import Image8
from training.evaluation.restore import Restorer
from training.resize import axis_weights, matlab_resize

Plane = npt.NDArray[np.float32]
"""(H, W) luma of BT.601 in studio range, 16..235, not rounded."""

Learned = dict[str, npt.NDArray[np.float32]]
"""What a method learned, by its own names."""

WEIGHTS = np.array([65.481, 128.553, 24.966], np.float32) / 255
GREY_OF_LUMA = 255 / 219
"""By how much red, green and blue change together when luma changes by 1."""


def file(method: str, scale: int) -> Path:
    """Where what ``method`` learned for ``scale`` is kept."""
    return Path(__file__).with_name(f"{method}_x{scale}.npz")


def kept(method: str, scale: int) -> Learned:
    """What ``method`` learned for ``scale``."""
    with np.load(file(method, scale)) as stored:
        return {name: stored[name].astype(np.float32) for name in stored.files}


def on_luma(enlarge: Callable[[Plane, int], Plane], scale: int) -> Restorer:
    """A restorer of RGB pictures from one of luma, (H, W), scale -> (scale*H, scale*W): chroma is bicubic, as in the
    papers."""

    def restore(image: Image8) -> Image8:
        rough = matlab_resize(image, scale).astype(np.float32)
        fine = enlarge(16 + image.astype(np.float32) @ WEIGHTS, scale)
        added = (fine - (16 + rough @ WEIGHTS)) * GREY_OF_LUMA
        return np.clip(np.floor(rough + added[:, :, None] + 0.5), 0, 255).astype(np.uint8)

    return restore


def resize(plane: Plane, shape: tuple[int, int]) -> Plane:
    """``plane`` with bicubic resampling (antialiased when shrinking) to any ``shape``, without rounding to 8 bit."""
    for axis, (length, wanted) in enumerate(zip(plane.shape, shape, strict=True)):
        indices, weights = axis_weights(length, wanted, wanted / length)
        taps = weights.astype(np.float32).reshape(*weights.shape, 1)
        turned = plane if axis == 0 else plane.T
        made = sum(taps[:, tap] * turned[indices[:, tap]] for tap in range(indices.shape[1]))
        plane = made if axis == 0 else made.T
    return np.ascontiguousarray(plane, np.float32)


def back_project(large: Plane, small: Plane, rounds: int = 12) -> Plane:
    """``large``, changed until it shrinks to ``small``: M. Irani and S. Peleg, CVGIP 1991, eq. 2, with the bicubic
    kernel both ways."""
    for _ in range(rounds):
        large = large + resize(small - resize(large, small.shape), large.shape)
    return large


class Patches:
    """The places of square patches on a plane: every ``stride`` pixels, and flush with the far edges."""

    def __init__(self, shape: tuple[int, int], size: int, stride: int) -> None:
        self.shape, self.size = shape, size
        self.tops, self.lefts = (
            np.unique(np.append(np.arange(0, side - size + 1, stride), side - size)) for side in shape
        )

    def __len__(self) -> int:
        return len(self.tops) * len(self.lefts)

    def of(self, plane: Plane) -> Plane:
        """(number of patches, size * size), row by row."""
        views = np.lib.stride_tricks.sliding_window_view(plane, (self.size, self.size))
        return views[np.ix_(self.tops, self.lefts)].reshape(len(self), -1)

    def mean(self, patches: Plane, weights: npt.NDArray[np.float32] | float = 1.0) -> Plane:
        """The plane that ``patches``, (number, size * size), make where they overlap: their mean, weighted by
        ``weights`` that broadcast to their shape."""
        grid = (len(self.tops), len(self.lefts), self.size, self.size)
        weighted = np.broadcast_to(np.asarray(weights, np.float32), patches.shape)
        values, weighted = (patches * weighted).reshape(grid), weighted.reshape(grid)
        total, count = np.zeros(self.shape, np.float32), np.zeros(self.shape, np.float32)
        for row in range(self.size):
            for column in range(self.size):
                place = np.ix_(self.tops + row, self.lefts + column)
                total[place] += values[:, :, row, column]
                count[place] += weighted[:, :, row, column]
        return total / np.maximum(count, 1e-12)
