"""``fast``: plain 3x3 convolutions at LR resolution, the quickest thing an inference runtime can run.

Every layer is a 3x3 convolution, so the whole network works at LR resolution until one sub-pixel shuffle (Shi et
al. 2016, "Real-time single image and video super-resolution using an efficient sub-pixel convolutional neural
network", eq. 4). LeakyReLU is fused into the convolution by onnxruntime, PReLU is not (20-25 % slower).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.networks.command import one_width

NEGATIVE_SLOPE = 0.1
RANDOM_PART = 0.3
"""How much of He's random start a hidden layer keeps beside the identity."""


class Fast(nn.Module):
    """(N, 3, H, W) in [0, 1] -> (N, 3, scale*H, scale*W), not clamped.

    ``layers`` counts all convolutions, head and tail included; the receptive-field radius is ``layers`` pixels.
    Parameters are named as in SRVGGNetCompact (``body.N``), so that loaders of that family recognise an export.
    """

    name: ClassVar[str] = "fast"
    summary: ClassVar[str] = "plain 3x3 convolutions at LR resolution, the quickest to serve on a CPU"
    paper: ClassVar[str] = "this project, after Shi 2016"

    def __init__(self, scale: int = 4, layers: int = 8, filters: int = 48) -> None:
        super().__init__()
        if layers < 2:
            raise ValueError(f"{self.name} needs at least 2 layers: one in, one out")
        self.scale = scale
        self.options: dict[str, Any] = {"scale": scale, "layers": layers, "filters": filters}
        dilations = self.dilations(layers)
        self.receptive_field_radius = float(sum(dilations))
        widths = [3, *[filters] * (layers - 1), 3 * scale * scale]
        self.body = nn.ModuleList()
        for index, dilation in enumerate(dilations):
            convolution = nn.Conv2d(widths[index], widths[index + 1], 3, padding=dilation, dilation=dilation)
            nn.init.kaiming_normal_(convolution.weight, a=NEGATIVE_SLOPE)
            nn.init.zeros_(convolution.bias)
            if 0 < index < layers - 1:
                _start_from_identity(convolution)
            self.body.append(convolution)
            if index < layers - 1:
                self.body.append(nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True))
        self.subpixel_layer = f"body.{len(self.body) - 1}"
        # The skip already gives a picture; the network starts from it and learns the difference.
        nn.init.zeros_(self.body[-1].weight)

    @staticmethod
    def dilations(layers: int) -> list[int]:
        """How many pixels the taps of each convolution lie apart."""
        return [1] * layers

    @classmethod
    def from_command(cls, scale: int, *, filters: Sequence[int] | None, blocks: int | None) -> dict[str, Any]:
        """Constructor options: ``--gen-filters`` is the width, ``--gen-res-blocks`` the layers between the ends."""
        return {"scale": scale} | one_width(cls.name, filters) | ({} if blocks is None else {"layers": blocks + 2})

    def forward(self, image: Tensor) -> Tensor:
        features = image
        for layer in self.body:
            features = layer(features)
        # Repeating each colour scale^2 times before the shuffle is the nearest-neighbour enlargement after it, and
        # adds at LR resolution.
        skip = torch.repeat_interleave(image, self.scale * self.scale, dim=1)
        return F.pixel_shuffle(features + skip, self.scale)

    def for_serving(self) -> nn.Module:
        """A copy that does not write the repeated colours out: see ``_Served``."""
        return _Served(self).eval()


class _Served(nn.Module):
    """As ``Fast``, to the last bit; the colours are added to their scale^2 channels without being repeated in memory.

    In onnxruntime the repeated picture lived beside the features and their sum: 577 bytes for an input pixel at the
    peak of x4 with 48 filters, 397 without. So larger tiles fit the same memory, and of a 24-megapixel picture 7.3 %
    of the pixels are computed twice instead of 8.3 %.
    """

    def __init__(self, network: Fast) -> None:
        super().__init__()
        self.scale = network.scale
        self.body = copy.deepcopy(network.body)

    def forward(self, image: Tensor) -> Tensor:
        features = image
        for layer in self.body:
            features = layer(features)
        phases = features.unflatten(1, (3, self.scale * self.scale)) + image.unsqueeze(2)
        return F.pixel_shuffle(phases.flatten(1, 2), self.scale)


@torch.no_grad()
def _start_from_identity(convolution: nn.Conv2d) -> None:
    """Makes a hidden layer pass its features on, plus a little randomness, instead of mixing them at random.

    A plain stack has no skips of its own; this is what a residual network starts as. The shipped weights began so. It
    is no gain by itself: 500 steps on photographs kept out of training end at 28.31 dB with it, 28.33 without.
    """
    identity = torch.zeros_like(convolution.weight)
    nn.init.dirac_(identity)
    convolution.weight.mul_(RANDOM_PART).add_(identity)
