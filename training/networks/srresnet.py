"""``srresnet``: the residual network of SRGAN, the generator of the original Chetko.

C. Ledig et al., "Photo-realistic single image super-resolution using a generative adversarial network", CVPR 2017,
figure 4: 9x9 head, B residual blocks, global skip, sub-pixel steps of x2 (W. Shi et al., CVPR 2016, eq. 4), 9x9 tail.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.networks.folding import fold_batch_norm
from training.networks.precision import full_precision

SLOPE = 0.25
"""Where a PReLU's slope starts (He et al. 2015)."""
TAIL = 9
"""Edge of the output layer's kernel, in HR pixels."""


def before_shuffle(weight: Tensor) -> Tensor:
    """The 5x5 kernel that does before an x2 sub-pixel shuffle what the 9x9 kernel ``weight`` does after it.

    (O, C, 9, 9) -> (4*O, 4*C, 5, 5). Output phase (p, q) of HR pixel (2y + p, 2x + q) reads with tap o, in -4..4, HR
    row 2y + p + o: that is LR row y + floor((p + o) / 2), phase (p + o) mod 2. Beyond the border both read zeros, so
    with zero padding of 4 and 2 the two are the same function in every pixel.
    """
    padded = F.pad(weight, (1, 1, 1, 1))
    edge = TAIL + 1
    phases = [
        F.pixel_unshuffle(padded[:, :, 1 - p : 1 - p + edge, 1 - q : 1 - q + edge], 2) for p in (0, 1) for q in (0, 1)
    ]
    return torch.stack(phases, dim=1).flatten(0, 1)


class ResidualBlock(nn.Module):
    """(N, inside, H, W) -> (N, width, H, W): 3x3, [BN], PReLU, 3x3, [BN], and the sum with the input."""

    def __init__(self, inside: int, width: int, *, batch_norm: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_convolution(inside, width, batch_norm=batch_norm),
            nn.PReLU(width, SLOPE),
            *_convolution(width, width, batch_norm=batch_norm),
        )
        self.skip = _skip(inside, width)
        if not batch_norm:
            # Without normalisation the sum of many full-sized branches would grow with the depth.
            with torch.no_grad():
                self.body[-1].weight.mul_(0.1)

    def forward(self, features: Tensor) -> Tensor:
        return self.skip(features) + self.body(features)


class LastStep(nn.Module):
    """The last x2 sub-pixel step and the output layer: (N, width, H, W) -> (N, 3, 2H, 2W).

    The paper's order is 3x3 convolution, shuffle, PReLU, 9x9 convolution at the size of the output. PReLU and
    output layer are computed before the shuffle instead (``before_shuffle``), which is the same function and
    cheaper; what is learned and saved stays the paper's: a slope per channel and a 9x9 kernel.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolution = _sub_pixel_convolution(width)
        self.activation = nn.PReLU(width, SLOPE)
        self.tail = nn.Conv2d(width, 3, TAIL, padding=TAIL // 2)

    def forward(self, features: Tensor) -> Tensor:
        slopes, kernel, bias = self._rearranged()
        features = F.prelu(self.convolution(features), slopes)
        return F.pixel_shuffle(F.conv2d(features, kernel, bias, padding=kernel.shape[-1] // 2), 2)

    def _rearranged(self) -> tuple[Tensor, Tensor, Tensor]:
        with full_precision(self.tail.weight):
            return (
                self.activation.weight.repeat_interleave(4),
                before_shuffle(self.tail.weight),
                self.tail.bias.repeat_interleave(4),
            )

    def for_serving(self) -> nn.Sequential:
        """Plain layers that compute the same."""
        slopes, kernel, bias = (tensor.detach() for tensor in self._rearranged())
        activation = nn.PReLU(len(slopes))
        output = nn.Conv2d(kernel.shape[1], kernel.shape[0], kernel.shape[-1], padding=kernel.shape[-1] // 2)
        activation.weight = nn.Parameter(slopes.clone())
        output.weight, output.bias = nn.Parameter(kernel.contiguous()), nn.Parameter(bias.clone())
        return nn.Sequential(copy.deepcopy(self.convolution), activation, output, nn.PixelShuffle(2))


class SRResNet(nn.Module):
    """(N, 3, H, W) RGB in [0, 1] -> (N, 3, scale*H, scale*W), not clamped.

    ``filters`` is the width of all layers, or one width per residual block: the head then has the first block's, all
    after the blocks the last one's, and skips between different widths are 1x1 convolutions. ``blocks`` is B, 4 in
    the original Chetko and 16 in the paper. ``batch_norm`` as in the paper; without it (the default) training is
    steadier and colours do not drift (Lim et al. 2017, "EDSR").
    """

    summary: ClassVar[str] = "residual blocks with PReLU and sub-pixel steps, the generator of SRGAN"
    paper: ClassVar[str] = "Ledig 2017"

    def __init__(
        self, scale: int = 4, filters: int | Sequence[int] = 64, blocks: int = 4, *, batch_norm: bool = False
    ) -> None:
        super().__init__()
        if scale < 2 or scale & (scale - 1):
            raise ValueError(f"srresnet enlarges in steps of x2: scale 2, 4, 8, not {scale}")
        if blocks < 1:
            raise ValueError("srresnet needs at least 1 residual block")
        if not isinstance(filters, int) and len(filters) != blocks:
            raise ValueError(f"srresnet takes one width, or one for each of its {blocks} blocks, not {len(filters)}")
        widths = [filters] * blocks if isinstance(filters, int) else list(filters)
        steps = scale.bit_length() - 1
        self.scale = scale
        self.options: dict[str, Any] = {
            "scale": scale, "filters": filters if isinstance(filters, int) else widths,
            "blocks": blocks, "batch_norm": batch_norm,
        }  # fmt: skip
        # Head 4, two per block, one after the blocks, one per step at its resolution, tail 4 HR pixels.
        self.receptive_field_radius = 4 + 2 * blocks + 1 + sum(0.5**step for step in range(steps)) + 4 / scale

        first, last = widths[0], widths[-1]
        self.head = nn.Sequential(nn.Conv2d(3, first, 9, padding=4), nn.PReLU(first, SLOPE))
        self.blocks = nn.Sequential(
            *(
                ResidualBlock(inside, width, batch_norm=batch_norm)
                for inside, width in zip([first, *widths], widths, strict=False)
            )
        )
        self.after = nn.Sequential(*_convolution(last, last, batch_norm=batch_norm))
        self.skip = _skip(first, last)
        self.steps = nn.Sequential(
            *(
                nn.Sequential(_sub_pixel_convolution(last), nn.PixelShuffle(2), nn.PReLU(last, SLOPE))
                for _ in range(steps - 1)
            )
        )
        self.last = LastStep(last)

    @classmethod
    def from_command(cls, scale: int, *, filters: Sequence[int] | None, blocks: int | None) -> dict[str, Any]:
        """Constructor options for ``--gen-filters`` (one width, or one per block) and ``--gen-res-blocks``.

        Several widths alone say how many blocks there are. Raises ``ValueError`` where the two disagree.
        """
        options: dict[str, Any] = {"scale": scale}
        if filters is not None and len(filters) > 1:
            if blocks not in (None, len(filters)):
                raise ValueError(
                    f"--gen-filters has {len(filters)} widths for {blocks} residual blocks (--gen-res-blocks)"
                )
            return options | {"filters": list(filters), "blocks": len(filters)}
        if filters is not None:
            options["filters"] = filters[0]
        if blocks is not None:
            options["blocks"] = blocks
        return options

    def forward(self, image: Tensor) -> Tensor:
        features = self.head(image)
        features = self.skip(features) + self.after(self.blocks(features))
        return self.last(self.steps(features))

    def for_serving(self) -> nn.Module:
        """A copy in eval mode with plain layers: no batch norm, and the output layer as 5x5 before the shuffle."""
        served = copy.deepcopy(self).eval()
        for block in served.blocks:
            block.body = fold_batch_norm(block.body)
        served.after = fold_batch_norm(served.after)
        served.last = self.last.for_serving().eval()
        return served


def _convolution(inside: int, width: int, *, batch_norm: bool) -> list[nn.Module]:
    """A 3x3 convolution, normalised if asked for; normalisation has its own bias."""
    convolution = nn.Conv2d(inside, width, 3, padding=1, bias=not batch_norm)
    nn.init.kaiming_normal_(convolution.weight, a=SLOPE)
    if not batch_norm:
        nn.init.zeros_(convolution.bias)
    return [convolution, nn.BatchNorm2d(width)] if batch_norm else [convolution]


def _skip(inside: int, width: int) -> nn.Module:
    return nn.Identity() if inside == width else nn.Conv2d(inside, width, 1)


def _sub_pixel_convolution(width: int) -> nn.Conv2d:
    """A 3x3 convolution to four times as many filters, the four phases of an x2 shuffle.

    All four start equal, so that the untrained network has no checkerboard (Aitken et al. 2017, "ICNR").
    """
    convolution = nn.Conv2d(width, 4 * width, 3, padding=1)
    phase = torch.empty_like(convolution.weight[:width])
    nn.init.kaiming_normal_(phase, a=SLOPE)
    with torch.no_grad():
        convolution.weight.copy_(phase.repeat_interleave(4, dim=0))
    nn.init.zeros_(convolution.bias)
    return convolution
