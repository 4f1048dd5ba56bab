"""The luma of an RGB picture, for the networks whose papers enlarge luma alone and leave chroma to bicubic."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.networks.precision import full_precision


class Luma(nn.Module):
    """(N, 3, H, W) RGB in [0, 1] -> (N, 1, H, W): ITU-R BT.601 luma, scaled to [0, 1].

    The Y of design section 7 is 16 + 219 times this, in 8-bit levels. The weights sum to 1, so adding one value to
    R, G and B adds it to luma and leaves both colour differences as they are: a network that corrects luma alone
    is ``rgb + (new_luma - luma(rgb))``, without a way back from YCbCr.
    """

    def __init__(self) -> None:
        super().__init__()
        weights = torch.tensor([65.481, 128.553, 24.966]) / 219.0
        self.register_buffer("weights", weights.reshape(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        with full_precision(image):
            return F.conv2d(image, self.weights)
