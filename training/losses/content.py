"""The content term of the loss: how far the result is from the real picture, in pixels or in VGG features.

All losses are means over every element of a batch, multiplied so that pictures count as one of two scales:

``8bit``
    the original program's: pixels 0..255, and VGG features as that VGG (Caffe's) gave them for pixels 0..255 less
    the mean. torchvision's VGG wants (image - mean) / std of pixels in [0, 1], and std is 0.226 on average: one unit
    of its input is 0.226 * 255 = 57.6 levels. A ReLU network is, but for its biases, positively homogeneous, so its
    features are those of the other divided by 57.6, and their squared error is multiplied by 57.6^2.
``paper``
    Ledig's: pixels in [-1, 1], and features divided by 12.75, i.e. their squared error times 0.006 (Ledig et al.
    2017, section 2.2.1 and 3.2), which brings it to the size of the pixels'.

On VGG features both scales stand for one balance: 500 x adversarial beside 57.6^2 x error is 0.151 of a squared
feature, and Ledig's 0.001 beside error / 12.75^2 is 0.163. On pixels they do not: 500 beside 255^2 x error is 31 times
Ledig's 0.001 beside his. With the defaults and SRGAN's discriminator as it starts, the adversarial gradient at bicubic
pictures is about 0.1 of that of VGG16's conv5_3, but 10 to 20 times that of the pixels' MSE, and would drown it. The
MSE that *stands in* for features where no weights are at hand has therefore the size that Ledig gave to it beside
features, 33 x 255^2 in the 8bit scale; there the adversarial gradient is 0.3 to 0.6 of it (the tests measure both).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.losses.vgg import BLOCKS, STD, VggFeatures, find_vgg_weights, layer_named
from training.networks.luma import Luma

CONTENTS = ("mse", "l1", "vgg")
SCALES = ("8bit", "paper")

PIXEL_UNIT = {"8bit": 255.0, "paper": 2.0}
"""How many units of the scale are between black (0) and white (1)."""

FEATURE_UNIT = {"8bit": 255.0 * sum(STD) / 3.0, "paper": 1.0 / 12.75}
"""How many units of the scale are in one unit of a feature of torchvision's VGG."""

STAND_IN_UNIT = {scale: PIXEL_UNIT["paper"] * unit / FEATURE_UNIT["paper"] for scale, unit in FEATURE_UNIT.items()}
"""As ``PIXEL_UNIT``, where pixels stand in for features: 1469 and 2."""


class PixelLoss(nn.Module):
    """Mean squared (``mse``; Ledig 2017, eq. 4) or mean absolute (``l1``) error of pixels; white is ``unit``.

    ``luma_share`` of it (0 to 1) is the error of luma, the rest that of R, G and B. Detail is seen in luma, and PSNR
    is measured on it: a small network has better uses for its weights than the detail of chroma.
    """

    def __init__(self, kind: str, unit: float, luma_share: float = 0.0) -> None:
        super().__init__()
        self.squared = kind == "mse"
        self.unit = unit
        self.luma_share = luma_share
        self.luma = Luma()
        self.smallest = 1
        self.description = f"{'MSE' if self.squared else 'L1'} of pixels (white is {unit:.0f})"
        if luma_share:
            self.description += f", {luma_share:.0%} of it on luma"

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        """``sr``, ``hr``: (N, 3, H, W) RGB, [0, 1] -> scalar, float32."""
        sr, hr = sr.float(), hr.float()
        difference = F.mse_loss if self.squared else F.l1_loss
        loss = difference(sr, hr)
        if self.luma_share:
            loss = torch.lerp(loss, difference(self.luma(sr), self.luma(hr)), self.luma_share)
        return loss * (self.unit**2 if self.squared else self.unit)


class FeatureLoss(nn.Module):
    """Mean squared error of VGG features (Johnson 2016, eq. 2; Ledig 2017, eq. 5), in units of the scale."""

    def __init__(self, features: VggFeatures, scale: str) -> None:
        super().__init__()
        self.features = features
        self.unit = FEATURE_UNIT[scale]
        self.smallest = features.smallest
        self.description = f"MSE of {features.kind} features after {features.layer} and ReLU ({scale} scale)"

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        """``sr``, ``hr``: (N, 3, H, W) RGB, [0, 1] -> scalar, float32; the gradient goes to ``sr`` alone."""
        with torch.no_grad():
            wanted = self.features(hr)
        return F.mse_loss(self.features(sr), wanted) * self.unit**2


def content_loss(
    kind: str,
    *,
    layer: str | None = None,
    weights: Path | None = None,
    scale: str = "8bit",
    luma_share: float = 0.0,
    say: Callable[[str], None] = print,
) -> PixelLoss | FeatureLoss:
    """The content loss ``kind``: ``mse``, ``l1`` or ``vgg``; ``loss(sr, hr)`` of (N, 3, H, W) in [0, 1] is a scalar.

    ``layer`` and ``weights`` are VGG's (``VggFeatures``, ``find_vgg_weights``; None = the last convolution, and what
    this machine has), ``luma_share`` is that of ``PixelLoss``. Where no weights are at hand, ``vgg`` becomes the MSE of
    pixels, the original's first equation, at the size of a stand-in for features (see above), and ``say`` is told so.
    The result has ``description`` (one line for the journal) and ``smallest`` (the pixels that a patch needs at least
    on each side); it holds nothing to train and nothing to save.

    Raises ``ValueError`` for an unknown kind, scale or layer, and for a layer where no VGG is asked for;
    ``WeightsError`` when the weights asked for are not there or not VGG's.
    """
    if kind not in CONTENTS:
        raise ValueError(f"there is no content loss {kind!r}; choose one of: {', '.join(CONTENTS)}")
    if scale not in SCALES:
        raise ValueError(f"there is no loss scale {scale!r}; choose one of: {', '.join(SCALES)}")
    if kind != "vgg":
        if layer is not None:
            raise ValueError(f"the layer {layer!r} is of VGG's, but the content loss is {kind!r}")
        return PixelLoss(kind, PIXEL_UNIT[scale], luma_share)
    path = find_vgg_weights(weights)
    if path is not None:
        return FeatureLoss(VggFeatures.load(path, layer), scale)
    layer_named(layer, next(iter(BLOCKS)))  # a misspelt layer is told here too; VGG19 has all that VGG16 has
    say(
        "no VGG weights are at hand, so the content loss is the MSE of pixels instead of VGG features (smoother "
        "pictures); give torchvision's vgg19-dcbb9e9d.pth with --perceptual-weights PATH, or --perceptual-weights "
        "download"
    )
    return PixelLoss("mse", STAND_IN_UNIT[scale])
