"""``srcnn``: three convolutions on the bicubic enlargement, the first deep network for super-resolution.

C. Dong et al., "Image super-resolution using deep convolutional networks", IEEE TPAMI 2016, eq. 1-3, in the setting
9-5-5 with 64 and 32 filters, the paper's most accurate. As there, the network works on luma and chroma is bicubic.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from training.networks.bicubic import REACH, Bicubic
from training.networks.command import no_blocks, two_widths
from training.networks.luma import Luma

KERNELS = (9, 5, 5)


class SRCNN(nn.Module):
    """(N, 3, H, W) RGB in [0, 1] -> (N, 3, scale*H, scale*W), not clamped.

    ``filters`` are the widths of the two hidden layers. The paper trains on valid convolutions and crops; here
    convolutions are zero-padded, as the model contract wants a whole picture back.
    """

    summary: ClassVar[str] = "three layers on the bicubic luma, where deep super-resolution began"
    paper: ClassVar[str] = "Dong 2016"

    def __init__(self, scale: int = 4, filters: Sequence[int] = (64, 32)) -> None:
        super().__init__()
        self.scale = scale
        self.options: dict[str, Any] = {"scale": scale, "filters": list(filters)}
        self.receptive_field_radius = REACH + sum(kernel // 2 for kernel in KERNELS) / scale
        self.enlarge = Bicubic(scale)
        self.luma = Luma()
        first, second = filters
        self.body = nn.Sequential(
            nn.Conv2d(1, first, KERNELS[0], padding=KERNELS[0] // 2),  # patch extraction and representation, eq. 1
            nn.ReLU(inplace=True),
            nn.Conv2d(first, second, KERNELS[1], padding=KERNELS[1] // 2),  # non-linear mapping, eq. 2
            nn.ReLU(inplace=True),
            nn.Conv2d(second, 1, KERNELS[2], padding=KERNELS[2] // 2),  # reconstruction, eq. 3
        )

    @classmethod
    def from_command(cls, scale: int, *, filters: Sequence[int] | None, blocks: int | None) -> dict[str, Any]:
        """Constructor options for ``--gen-filters`` (one or two widths); the depth is fixed."""
        no_blocks("srcnn", blocks)
        return {"scale": scale} | two_widths("srcnn", filters)

    def forward(self, image: Tensor) -> Tensor:
        enlarged = self.enlarge(image)
        luma = self.luma(enlarged)
        return enlarged + (self.body(luma) - luma)

    def for_serving(self) -> nn.Module:
        """A copy: the layers are plain already."""
        return copy.deepcopy(self).eval()
