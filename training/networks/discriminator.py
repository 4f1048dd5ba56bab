"""The discriminator of SRGAN: is this HR patch a photograph or was it made?

C. Ledig et al., CVPR 2017, figure 4 and section 2.1.1: eight 3x3 convolutions, the width doubled and the resolution
halved in turn, no max-pooling (after Radford et al. 2016), LeakyReLU 0.2, two dense layers.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

NEGATIVE_SLOPE = 0.2
HIDDEN = 1024
STRIDE = 16
"""Four of the convolutions halve the resolution."""


class Discriminator(nn.Module):
    """(N, 3, patch_size, patch_size) RGB in [0, 1] -> logits (N, 1): above 0 means "photograph".

    ``filters`` is the first layer's width, 64 in the paper; the last one's is eight times that. There is no sigmoid
    at the end: the losses take logits, which is exact where a sigmoid would saturate. ``patch_size``, in HR pixels,
    is any multiple of 16; the dense layer's size follows from it.
    """

    def __init__(self, filters: int = 32, patch_size: int = 96) -> None:
        super().__init__()
        if patch_size < STRIDE or patch_size % STRIDE:
            raise ValueError(
                f"the discriminator takes HR patches whose edge is a multiple of {STRIDE}, not {patch_size}"
            )
        self.options: dict[str, Any] = {"filters": filters, "patch_size": patch_size}
        self.patch_size = patch_size
        layers: list[nn.Module] = [nn.Conv2d(3, filters, 3, padding=1), nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True)]
        inside = filters
        for width, stride in ((1, 2), (2, 1), (2, 2), (4, 1), (4, 2), (8, 1), (8, 2)):
            layers += [
                nn.Conv2d(inside, width * filters, 3, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(width * filters),
                nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True),
            ]
            inside = width * filters
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(inside * (patch_size // STRIDE) ** 2, HIDDEN),
            nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True),
            nn.Linear(HIDDEN, 1),
        )

    def forward(self, patch: Tensor) -> Tensor:
        """Raises ``ValueError`` for patches of another size than the dense layer was made for."""
        if patch.shape[-2:] != (self.patch_size, self.patch_size):
            raise ValueError(
                f"the discriminator was made for patches of {self.patch_size} x {self.patch_size} HR pixels, "
                f"not {patch.shape[-2]} x {patch.shape[-1]}"
            )
        return self.classifier(self.features(2.0 * patch - 1.0))  # the paper's HR range, [-1, 1]
