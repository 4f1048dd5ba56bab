"""``espcn``: all convolutions at LR resolution, then one sub-pixel shuffle.

W. Shi et al., "Real-time single image and video super-resolution using an efficient sub-pixel convolutional neural
network", CVPR 2016, eq. 2-4, with tanh as in its section 3.2. As there, the network works on luma; chroma is bicubic.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from training.networks.bicubic import Bicubic
from training.networks.command import no_blocks, two_widths
from training.networks.luma import Luma

KERNELS = (5, 3, 3)


class ESPCN(nn.Module):
    """(N, 3, H, W) RGB in [0, 1] -> (N, 3, scale*H, scale*W), not clamped.

    ``filters`` are the widths of the two hidden layers.
    """

    summary: ClassVar[str] = "three layers at LR resolution, then the sub-pixel shuffle: the first real-time network"
    paper: ClassVar[str] = "Shi 2016"
    subpixel_layer: ClassVar[str] = "body.4"

    def __init__(self, scale: int = 4, filters: Sequence[int] = (64, 32)) -> None:
        super().__init__()
        self.scale = scale
        self.options: dict[str, Any] = {"scale": scale, "filters": list(filters)}
        self.receptive_field_radius = float(sum(kernel // 2 for kernel in KERNELS))
        self.enlarge = Bicubic(scale)
        self.luma = Luma()
        first, second = filters
        self.body = nn.Sequential(
            nn.Conv2d(1, first, KERNELS[0], padding=KERNELS[0] // 2),
            nn.Tanh(),
            nn.Conv2d(first, second, KERNELS[1], padding=KERNELS[1] // 2),
            nn.Tanh(),
            nn.Conv2d(second, scale * scale, KERNELS[2], padding=KERNELS[2] // 2),
        )

    @classmethod
    def from_command(cls, scale: int, *, filters: Sequence[int] | None, blocks: int | None) -> dict[str, Any]:
        """Constructor options for ``--gen-filters`` (one or two widths); the depth is fixed."""
        no_blocks("espcn", blocks)
        return {"scale": scale} | two_widths("espcn", filters)

    def forward(self, image: Tensor) -> Tensor:
        enlarged = self.enlarge(image)
        luma = F.pixel_shuffle(self.body(self.luma(image)), self.scale)  # eq. 4
        return enlarged + (luma - self.luma(enlarged))

    def for_serving(self) -> nn.Module:
        """A copy: the layers are plain already."""
        return copy.deepcopy(self).eval()
