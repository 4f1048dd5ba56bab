"""``drcn``: one convolution applied sixteen times, and a weighted mean of what each pass predicts.

J. Kim, J. K. Lee, K. M. Lee, "Deeply-recursive convolutional network for image super-resolution", CVPR 2016.
Embedding: H_0 = f1(x), two convolutions. Inference: H_d = relu(W * H_(d-1) + b) with the same W, b for d = 1..D
(eq. 3). Reconstruction: y_d = x + f2(H_d) with the same two convolutions for every d (section 3.2, the skip).
Output: y = sum_d w_d y_d (eq. 7) with learned w_d. Luma only; chroma is bicubic.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from training.networks.bicubic import REACH, Bicubic
from training.networks.command import one_width
from training.networks.luma import Luma


class DRCN(nn.Module):
    """(N, 3, H, W) RGB in [0, 1] -> (N, 3, scale*H, scale*W), not clamped.

    ``recursions`` is D. The paper adds a loss on every y_d, which fades out during training; here the loss sees y
    alone, and each y_d is supervised through its weight in it.
    """

    summary: ClassVar[str] = "one layer applied sixteen times to the bicubic luma, all passes averaged"
    paper: ClassVar[str] = "Kim 2016 (DRCN)"

    def __init__(self, scale: int = 4, filters: int = 256, recursions: int = 16) -> None:
        super().__init__()
        if recursions < 1:
            raise ValueError("drcn needs at least 1 recursion")
        self.scale = scale
        self.options: dict[str, Any] = {"scale": scale, "filters": filters, "recursions": recursions}
        self.receptive_field_radius = REACH + (4 + recursions) / scale
        self.enlarge = Bicubic(scale)
        self.luma = Luma()
        self.embedding = nn.Sequential(
            nn.Conv2d(1, filters, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(filters, filters, 3, padding=1), nn.ReLU(inplace=True),
        )  # fmt: skip
        # No ReLU in place here: a pass's features are read twice, by the next pass and by the reconstruction.
        self.inference = nn.Sequential(nn.Conv2d(filters, filters, 3, padding=1), nn.ReLU())
        self.reconstruction = nn.Sequential(nn.Conv2d(filters, filters, 3, padding=1), nn.ReLU())
        self.last = nn.Conv2d(filters, 1, 3, padding=1)
        self.weights = nn.Parameter(torch.full((recursions,), 1.0 / recursions))
        for layer in (self.embedding[0], self.embedding[2], self.reconstruction[0]):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        # Section 5.1: a recursive layer starts as the identity, so that neither signal nor gradient fades in D passes.
        nn.init.dirac_(self.inference[0].weight)
        nn.init.zeros_(self.inference[0].bias)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    @classmethod
    def from_command(cls, scale: int, *, filters: Sequence[int] | None, blocks: int | None) -> dict[str, Any]:
        """Constructor options: ``--gen-filters`` is the width, ``--gen-res-blocks`` the number of recursions."""
        return {"scale": scale} | one_width("drcn", filters) | ({} if blocks is None else {"recursions": blocks})

    def forward(self, image: Tensor) -> Tensor:
        enlarged = self.enlarge(image)
        luma = self.luma(enlarged)
        features = self.embedding(luma)
        # The last convolution is linear, so it is applied once, to the weighted sum, instead of D times:
        # sum_d w_d (x + V * r_d + c) = V * (sum_d w_d r_d) + (x + c) sum_d w_d.
        gathered = torch.zeros_like(features)
        for weight in self.weights:
            features = self.inference(features)
            gathered = gathered + weight * self.reconstruction(features)
        total = self.weights.sum()
        correction = nn.functional.conv2d(gathered, self.last.weight, padding=1)
        predicted = correction + total * (luma + self.last.bias.reshape(1, 1, 1, 1))
        return enlarged + (predicted - luma)

    def for_serving(self) -> nn.Module:
        """A copy in eval mode: the shared layers are plain, and repeated in the exported graph."""
        return copy.deepcopy(self).eval()
