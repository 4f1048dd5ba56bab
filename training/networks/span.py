"""``span``: wide to train, plain to serve, with attention that has no parameters.

C. Wan et al., "Swift parameter-free attention network for efficient super-resolution", CVPR workshops (NTIRE) 2024.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.networks.command import one_width
from training.networks.precision import full_precision

RANGE = 16.0
"""What the picture's [0, 1] is stretched to before the first layer; the paper's program stretches it to 255.

An attention block multiplies features with about a quarter of themselves while they are small, so that after a few
blocks nothing is left of those of a picture in [0, 1], and its deeper blocks learn nothing.
"""
EXPANSION = 2
"""How much wider than the served convolution the trained one is inside."""


class WideConvolution(nn.Module):
    """(N, inside, H, W) -> (N, width, H, W): 1x1, 3x3, 1x1 and a 1x1 skip, which together are one 3x3 convolution.

    Nothing non-linear lies between them, so their kernels multiply into one (``merged``). Training runs that one,
    too: a step of the default network then costs 1.1 times one of the served form, and 4.6 times if the branches
    were run (forward and backward, 16 patches of 24 px, one core). The gradient still goes to the branches, and
    that is what makes the over-parameterised form learn better.
    """

    def __init__(self, inside: int, width: int) -> None:
        super().__init__()
        self.widen = nn.Conv2d(inside, EXPANSION * inside, 1)
        self.spatial = nn.Conv2d(EXPANSION * inside, EXPANSION * width, 3)
        self.narrow = nn.Conv2d(EXPANSION * width, width, 1)
        self.skip = nn.Conv2d(inside, width, 1)
        if inside == width:  # features start by passing through
            nn.init.dirac_(self.skip.weight)
            nn.init.zeros_(self.skip.bias)

    def merged(self) -> tuple[Tensor, Tensor]:
        """Kernel (width, inside, 3, 3) and bias (width,) of the equal 3x3 convolution."""
        with full_precision(self.skip.weight):
            first, last = self.widen.weight[:, :, 0, 0], self.narrow.weight[:, :, 0, 0]
            middle = torch.tensordot(last, self.spatial.weight, dims=1)  # (width, EXPANSION * inside, 3, 3)
            kernel = torch.einsum("omhw,mi->oihw", middle, first) + F.pad(self.skip.weight, (1, 1, 1, 1))
            bias = middle.sum(dim=(2, 3)) @ self.widen.bias + last @ self.spatial.bias
            return kernel, bias + self.narrow.bias + self.skip.bias

    def forward(self, features: Tensor) -> Tensor:
        kernel, bias = self.merged()
        return F.conv2d(features, kernel, bias, padding=1)

    def for_serving(self) -> nn.Conv2d:
        """The equal plain convolution."""
        kernel, bias = (tensor.detach() for tensor in self.merged())
        plain = nn.Conv2d(kernel.shape[1], kernel.shape[0], 3, padding=1)
        plain.weight, plain.bias = nn.Parameter(kernel.contiguous()), nn.Parameter(bias.clone())
        return plain


class AttentionBlock(nn.Module):
    """(N, width, H, W) -> the block's output and its first convolution's, both (N, width, H, W).

    Three convolutions make O from F; the output is (O + F) * (sigmoid(O) - 1/2) (eq. 3-5): where the convolutions
    found much, the sum passes, and flat regions are held back. It needs no pooling and no parameters.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = WideConvolution(width, width)
        self.second = WideConvolution(width, width)
        self.third = WideConvolution(width, width)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        first = self.first(features)
        found = self.third(F.silu(self.second(F.silu(first))))
        return (found + features) * (torch.sigmoid(found) - 0.5), first


class SPAN(nn.Module):
    """(N, 3, H, W) RGB in [0, 1] -> (N, 3, scale*H, scale*W), not clamped.

    ``filters`` is the width, ``blocks`` the number of attention blocks; 48 and 6 in the paper. Not the paper's: the
    tail learns the difference to the nearest-neighbour enlargement, as in ``fast``, from which the network starts,
    and skips start as identities. After 250 steps (8 patches of 64 px) Set5 x4 is at 29.3 dB, without at 27.7.
    """

    summary: ClassVar[str] = "parameter-free attention between convolutions that are wide to train and plain to serve"
    paper: ClassVar[str] = "Wan 2024"
    subpixel_layer: ClassVar[str] = "tail"

    def __init__(self, scale: int = 4, filters: int = 48, blocks: int = 6) -> None:
        super().__init__()
        if blocks < 1:
            raise ValueError("span needs at least 1 block")
        self.scale = scale
        self.options: dict[str, Any] = {"scale": scale, "filters": filters, "blocks": blocks}
        self.receptive_field_radius = float(3 * blocks + 3)
        self.head = WideConvolution(3, filters)
        self.blocks = nn.ModuleList(AttentionBlock(filters) for _ in range(blocks))
        self.after = WideConvolution(filters, filters)
        self.gather = nn.Conv2d(4 * filters, filters, 1)
        self.tail = nn.Conv2d(filters, 3 * scale * scale, 3, padding=1)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)

    @classmethod
    def from_command(cls, scale: int, *, filters: Sequence[int] | None, blocks: int | None) -> dict[str, Any]:
        """Constructor options: ``--gen-filters`` is the width, ``--gen-res-blocks`` the number of blocks."""
        return {"scale": scale} | one_width("span", filters) | ({} if blocks is None else {"blocks": blocks})

    def forward(self, image: Tensor) -> Tensor:
        head = self.head((image - 0.5) * RANGE)
        features, depths = head, []
        for block in self.blocks:
            features, first = block(features)
            depths.append(features)
        gathered = self.gather(torch.cat([head, self.after(features), depths[0], first], dim=1))
        skip = torch.repeat_interleave(image, self.scale * self.scale, dim=1)
        return F.pixel_shuffle(self.tail(gathered) + skip, self.scale)

    def for_serving(self) -> nn.Module:
        """A copy in eval mode in which every wide convolution is a plain 3x3 one."""
        served = copy.deepcopy(self).eval()
        for owner in list(served.modules()):
            for name, child in owner.named_children():
                if isinstance(child, WideConvolution):
                    setattr(owner, name, child.for_serving())
        return served
