"""What JPEG does to a picture: through Pillow's codec, or the same arithmetic in batched tensors for a GPU.

ITU-T T.81 (baseline DCT, Annex K tables) as libjpeg computes it: JFIF colours in 16-bit fixed point, chroma 4:2:0 by
rounded means, "fancy" (triangle) chroma upsampling. Entropy coding loses nothing and is left out.
"""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

MCU = 16
"""Edge in pixels of what 4:2:0 codes as a unit: two by two luma blocks, one block of each chroma."""

LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55), (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62), (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99),
)  # fmt: skip
CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99), (18, 21, 26, 66, 99, 99, 99, 99), (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99), *((99,) * 8,) * 4,
)  # fmt: skip


HALF_DCT = (
    (8192, 8192, 8192, 8192), (11363, 9633, 6437, 2260), (10703, 4433, -4433, -10703), (9633, -2259, -11362, -6436),
    (8192, -8192, -8192, 8192), (6437, -11362, 2261, 9633), (4433, -10704, 10704, -4433), (2260, -6436, 9633, -11363),
)  # fmt: skip
"""Left half of libjpeg's accurate integer DCT ("islow"; Loeffler, Ligtenberg, Moschytz 1989), times 2**13. Its factors
are rounded before they are added up, so these differ from rounded cosines here and there, by 1."""


def through_pillow(pixels: npt.NDArray[np.uint8], quality: int) -> npt.NDArray[np.uint8]:
    """(H, W, 3) uint8 saved as JPEG with 4:2:0 chroma and ``quality`` 1..100, and read again."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    with Image.open(file) as image:
        return np.asarray(image)


def through_dct(levels: Tensor, qualities: Tensor) -> Tensor:
    """``levels`` (N, 3, H, W), whole floats 0..255, as JPEG of ``qualities`` (N,), 1..100, leaves them.

    H and W must be multiples of ``MCU``. Runs on the tensors' device without waiting for it, and equals
    ``through_pillow`` in every level (with libjpeg-turbo, which Pillow's wheels bring).
    """
    if levels.shape[2] % MCU or levels.shape[3] % MCU:
        raise ValueError(f"{levels.shape[3]} x {levels.shape[2]} is not a multiple of {MCU} pixels")
    luma_steps, chroma_steps = (_steps(table, qualities) for table in _tables(levels.device))
    y, cb, cr = _ycc(levels.int())
    y = _coded(y, luma_steps)
    cb, cr = (_upsampled(_coded(_halved(plane), chroma_steps)) for plane in (cb, cr))
    return _rgb(y, cb, cr).to(levels.dtype)


@lru_cache
def _tables(device: torch.device) -> tuple[Tensor, Tensor]:
    return torch.tensor(LUMA, device=device), torch.tensor(CHROMA, device=device)


@lru_cache
def _dct(device: torch.device) -> Tensor:
    """(frequency, sample), float64: sums of its products are whole numbers under 2**53, and TF32 never rounds them."""
    half = torch.tensor(HALF_DCT, dtype=torch.float64)
    signs = torch.tensor([1.0, -1.0] * 4, dtype=torch.float64)[:, None]
    return torch.cat((half, signs * half.flip(1)), 1).to(device)


def _steps(table: Tensor, qualities: Tensor) -> Tensor:
    """Quantiser steps (N, 1, 1, 8, 8) of the Annex K ``table`` at each quality (libjpeg's ``jpeg_quality_scaling``)."""
    percent = torch.where(qualities < 50, 5000 // qualities, 200 - 2 * qualities)[:, None, None]
    return ((table * percent + 50) // 100).clamp(1, 255).double()[:, None, None]


def _fixed(value: float) -> int:
    return int(value * 65536 + 0.5)


def _ycc(rgb: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """int32 (N, 3, H, W) -> Y, Cb, Cr, each int32 (N, H, W) 0..255 (jccolor.c)."""
    r, g, b = rgb.unbind(1)
    half, middle = 1 << 15, (128 << 16) + (1 << 15) - 1
    y = (_fixed(0.29900) * r + _fixed(0.58700) * g + _fixed(0.11400) * b + half) >> 16
    cb = (-_fixed(0.168735892) * r - _fixed(0.331264108) * g + _fixed(0.5) * b + middle) >> 16
    cr = (_fixed(0.5) * r - _fixed(0.418687589) * g - _fixed(0.081312411) * b + middle) >> 16
    return y, cb, cr


def _rgb(y: Tensor, cb: Tensor, cr: Tensor) -> Tensor:
    """The way back, int32 (N, 3, H, W) 0..255 (jdcolor.c)."""
    cb, cr, half = cb - 128, cr - 128, 1 << 15
    r = y + ((_fixed(1.40200) * cr + half) >> 16)
    g = y + ((-_fixed(0.34414) * cb - _fixed(0.71414) * cr + half) >> 16)
    b = y + ((_fixed(1.77200) * cb + half) >> 16)
    return torch.stack((r, g, b), 1).clamp(0, 255)


def _halved(plane: Tensor) -> Tensor:
    """Means of 2 x 2 (N, H, W) -> (N, H/2, W/2); ties are rounded down and up in turn (jcsample.c, h2v2)."""
    total = plane[:, ::2, ::2] + plane[:, ::2, 1::2] + plane[:, 1::2, ::2] + plane[:, 1::2, 1::2]
    return (total + 1 + torch.arange(total.shape[2], device=plane.device, dtype=torch.int32) % 2) >> 2


def _upsampled(plane: Tensor) -> Tensor:
    """(N, H, W) -> (N, 2H, 2W) with weights 9, 3, 3, 1 of 16 for the four nearest (jdsample.c, h2v2_fancy)."""
    padded = F.pad(plane[:, None].double(), (1, 1, 1, 1), mode="replicate")[:, 0].int()
    here = 3 * padded[:, 1:-1]
    rows = torch.stack((here + padded[:, :-2], here + padded[:, 2:]), 2).flatten(1, 2)
    here = 3 * rows[:, :, 1:-1]
    columns = torch.stack(((here + rows[:, :, :-2] + 8) >> 4, (here + rows[:, :, 2:] + 7) >> 4), 3)
    return columns.flatten(2)


def _coded(plane: Tensor, steps: Tensor) -> Tensor:
    """(N, H, W) 0..255 after DCT (jfdctint.c), quantising (jcdctmgr.c) and the way back (jidctint.c), as int32.

    The two passes of each transform are rounded to 2 extra bits and to whole levels; between them and the quantiser the
    frequencies are 8 times as large as those of T.81.
    """
    n, height, width = plane.shape
    dct = _dct(plane.device)
    blocks = plane.double().sub(128.0).view(n, height // 8, 8, width // 8, 8).transpose(2, 3)
    waves = _scaled(dct @ _scaled(blocks @ dct.T, 11), 15)
    counts = waves.sign() * torch.floor((waves.abs() + 4.0 * steps) / (8.0 * steps))
    levels = _scaled(_scaled(dct.T @ (counts * steps), 11) @ dct, 18).add(128.0).clamp(0.0, 255.0)
    return levels.transpose(2, 3).reshape(n, height, width).int()


def _scaled(sums: Tensor, bits: int) -> Tensor:
    """Whole numbers divided by 2**bits and rounded, ties up, as libjpeg's DESCALE does."""
    return torch.floor(sums.mul(2.0**-bits).add(0.5))
