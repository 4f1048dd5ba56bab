"""What happens to a sharp picture before the network sees it: blur -> shrink -> noise -> JPEG, in this order.

That is the order of the world: optics blur the scene, the sensor samples it, its electronics add noise, and the file is
compressed last. All levels are whole 8-bit levels, as in the files a user sends.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training import jpeg
from training.resize import axis_weights

Taps = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Degradation:
    """``blur``: sigma of a Gaussian in HR pixels. ``noise``: sigma of Gaussian noise in 8-bit levels of the LR.
    ``jpeg``: qualities 1..100, of which each patch draws one; the LR is saved with 4:2:0 chroma. 0, 0, () do nothing.
    """

    blur: float = 0.0
    noise: float = 0.0
    jpeg: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not (0.0 <= self.blur < math.inf and 0.0 <= self.noise < math.inf):
            raise ValueError(f"blur ({self.blur}) and noise ({self.noise}) are sigmas, 0 or more")
        for quality in self.jpeg:
            if not 1 <= quality <= 100:
                raise ValueError(f"a JPEG quality is 1..100, not {quality}")

    def after_shrinking(self, levels: Tensor, seeds: Tensor, qualities: Tensor) -> Tensor:
        """Noise, then JPEG: LR ``levels`` (N, 3, H, W), whole floats 0..255 -> the same.

        ``seeds`` (N,) int64 fixes each row's noise, ``qualities`` (N,) int64 its JPEG quality; both lie on the
        levels' device. With JPEG, H and W must be multiples of ``jpeg.MCU``.
        """
        if self.noise:
            # float32, whatever the device: noise that differs in its last bit rounds to the same level.
            noise = gaussian_noise(seeds, levels.shape[1:])
            levels = levels.add(noise, alpha=self.noise).add_(0.5).floor_().clamp_(0.0, 255.0)
        if self.jpeg and levels.device.type == "cpu":
            pixels = levels.permute(0, 2, 3, 1).to(torch.uint8).numpy()
            saved = [jpeg.through_pillow(row, int(q)) for row, q in zip(pixels, qualities, strict=True)]
            levels = torch.from_numpy(np.stack(saved)).permute(0, 3, 1, 2).float()
        elif self.jpeg:
            levels = jpeg.through_dct(levels, qualities)
        return levels


def shrinking_taps(scale: int, blur: float = 0.0) -> tuple[Taps, int]:
    """Blur and shrinking of one axis as one filter: LR pixel k is the sum of taps[j] * HR[scale * k + first + j].

    Returns (taps, first). Both are linear, so their taps convolve; the Gaussian is cut at 4 sigma.
    """
    indices, weights = axis_weights(64 * scale, 64, 1.0 / scale)
    taps, first = weights[32], int(indices[32, 0]) - 32 * scale
    if blur:
        radius = math.ceil(4.0 * blur)
        gauss = np.exp(-0.5 * (np.arange(-radius, radius + 1) / blur) ** 2)
        taps, first = np.convolve(gauss / gauss.sum(), taps), first - radius
    return taps, first


def shrunk(levels: Tensor, taps: Taps, scale: int) -> Tensor:
    """Filters and shrinks (N, C, H, W), whole floats 0..255, wherever all taps lie inside: as ``resize.shrink``,
    rows first, rounded and clipped to 8 bit, then columns.

    Without blur it equals ``resize.shrink`` exactly at scales 2 and 4: those weights are multiples of 2**-13, and sums
    of shifted pictures, unlike a convolution, are never rounded to TF32.
    """
    for _ in ("rows", "columns"):
        beyond = levels.shape[2] - len(taps) + 1
        total = levels[:, :, 0:beyond:scale] * float(taps[0])
        for offset, tap in enumerate(taps[1:].tolist(), 1):
            total.add_(levels[:, :, offset : offset + beyond : scale], alpha=tap)
        levels = total.add_(0.5).floor_().clamp_(0.0, 255.0).transpose(2, 3).contiguous()
    return levels


def gaussian_noise(seeds: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Standard normal float32 (N, *shape) on the device of ``seeds`` (N,) int64; row i depends on seeds[i] alone.

    The n-th number is SplitMix64's n-th (Steele 2014) turned into a normal one by Box and Muller (1958): unlike
    torch's generators it gives the CPU and the GPU the same numbers, and needs no launch per row.
    """
    count = torch.arange(1, math.prod(shape) + 1, device=seeds.device)
    bits = seeds[:, None] + count * _signed(0x9E3779B97F4A7C15)  # int64 wraps, as it should
    bits = (bits ^ _shifted(bits, 30)) * _signed(0xBF58476D1CE4E5B9)
    bits = (bits ^ _shifted(bits, 27)) * _signed(0x94D049BB133111EB)
    bits = bits ^ _shifted(bits, 31)
    radius = (_shifted(bits, 40) + 1).float().mul_(2.0**-24).log_().mul_(-2.0).sqrt_()
    angle = (bits & 0xFFFFFF).float().mul_(2.0 * math.pi * 2.0**-24)
    return radius.mul_(angle.cos_()).view(-1, *shape)


def _signed(word: int) -> int:
    return word - (1 << 64)


def _shifted(bits: Tensor, by: int) -> Tensor:
    """The 64-bit words shifted right with zeros, which int64's own shift does not do."""
    return (bits >> by) & ((1 << (64 - by)) - 1)
