"""``vdsr``: twenty convolutions that learn what the bicubic enlargement lacks.

J. Kim, J. K. Lee, K. M. Lee, "Accurate image super-resolution using very deep convolutional networks", CVPR 2016:
3x3 convolutions with ReLU on the enlarged luma, and the residual r = y - x as the target (section 3.2).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from training.networks.bicubic import REACH, Bicubic
from training.networks.command import one_width
from training.networks.luma import Luma


class VDSR(nn.Module):
    """(N, 3, H, W) RGB in [0, 1] -> (N, 3, scale*H, scale*W), not clamped.

    ``layers`` counts all convolutions, first and last included. Chroma is bicubic, as in the paper.
    """

    summary: ClassVar[str] = "twenty layers learn the difference to the bicubic luma"
    paper: ClassVar[str] = "Kim 2016 (VDSR)"

    def __init__(self, scale: int = 4, filters: int = 64, layers: int = 20) -> None:
        super().__init__()
        if layers < 2:
            raise ValueError("vdsr needs at least 2 layers: one in, one out")
        self.scale = scale
        self.options: dict[str, Any] = {"scale": scale, "filters": filters, "layers": layers}
        self.receptive_field_radius = REACH + layers / scale
        self.enlarge = Bicubic(scale)
        self.luma = Luma()
        self.body = nn.Sequential()
        widths = [1, *[filters] * (layers - 1), 1]
        for index in range(layers):
            convolution = nn.Conv2d(widths[index], widths[index + 1], 3, padding=1)
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            nn.init.zeros_(convolution.bias)
            self.body.append(convolution)
            if index < layers - 1:
                self.body.append(nn.ReLU(inplace=True))
        # Start from the bicubic enlargement: with Adam the paper's gradient clipping is then not needed.
        nn.init.zeros_(self.body[-1].weight)

    @classmethod
    def from_command(cls, scale: int, *, filters: Sequence[int] | None, blocks: int | None) -> dict[str, Any]:
        """Constructor options: ``--gen-filters`` is the width, ``--gen-res-blocks`` the layers between the outer two."""
        return {"scale": scale} | one_width("vdsr", filters) | ({} if blocks is None else {"layers": blocks + 2})

    def forward(self, image: Tensor) -> Tensor:
        enlarged = self.enlarge(image)
        return enlarged + self.body(self.luma(enlarged))

    def for_serving(self) -> nn.Module:
        """A copy: the layers are plain already."""
        return copy.deepcopy(self).eval()
