"""``bicubic``: Keys' interpolation as a network, the baseline of every table and the first step of srcnn, vdsr, drcn.

R. Keys, "Cubic convolution interpolation for digital image processing", IEEE TASSP 1981, eq. 15, a = -0.5.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.networks.command import no_blocks
from training.networks.precision import full_precision
from training.resize import keys_cubic

REACH = 2
"""Input pixels on each side that an output pixel is made of."""


class Bicubic(nn.Module):
    """(N, 3, H, W) in [0, 1] -> (N, 3, scale*H, scale*W), not clamped, nothing to train.

    An enlargement by a whole factor has ``scale`` phases per axis, each a fixed filter of five taps: one convolution
    for the rows, one for the columns, and a sub-pixel shuffle. At x2 and x4 the taps are multiples of 2**-10 and
    thus exact in half precision. Beyond the border the edge pixel is repeated; MATLAB mirrors the pixel beside it,
    too, so the outermost two input pixels differ from ``training.resize.matlab_resize``, and it rounds to 8 bit
    between rows and columns, which this does not.
    """

    summary: ClassVar[str] = "fixed cubic interpolation, the baseline: nothing to train"
    paper: ClassVar[str] = "Keys 1981"

    def __init__(self, scale: int = 4) -> None:
        super().__init__()
        if scale < 2:
            raise ValueError(f"bicubic enlarges by a whole factor from 2, not {scale}")
        self.scale = scale
        self.options: dict[str, Any] = {"scale": scale}
        self.receptive_field_radius = float(REACH)
        centres = (np.arange(scale) + 0.5) / scale - 0.5
        taps = torch.from_numpy(keys_cubic(centres[:, None] - np.arange(-REACH, REACH + 1))).float()
        # Not persistent: a checkpoint holds what was learned.
        self.register_buffer("rows", taps.reshape(scale, 1, -1, 1).repeat(3, 1, 1, 1), persistent=False)
        self.register_buffer("columns", taps.reshape(scale, 1, 1, -1).repeat(3 * scale, 1, 1, 1), persistent=False)

    @classmethod
    def from_command(cls, scale: int, *, filters: Sequence[int] | None, blocks: int | None) -> dict[str, Any]:
        """Constructor options for ``--gen-filters`` and ``--gen-res-blocks``; there is nothing they could set."""
        if filters is not None:
            raise ValueError("--gen-filters: bicubic has no filters to choose; leave the option out")
        no_blocks("bicubic", blocks)
        return {"scale": scale}

    def forward(self, image: Tensor) -> Tensor:
        with full_precision(image):
            rows = F.conv2d(F.pad(image, (0, 0, REACH, REACH), mode="replicate"), self.rows, groups=3)
            wide = F.pad(rows, (REACH, REACH, 0, 0), mode="replicate")
            return F.pixel_shuffle(F.conv2d(wide, self.columns, groups=3 * self.scale), self.scale)

    def for_serving(self) -> nn.Module:
        """A copy: there is no plainer form."""
        return copy.deepcopy(self).eval()
