"""Whole pictures degraded as the training patches are: what a restoration model is measured on."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from training import jpeg
from training.degradation import Degradation, gaussian_noise, shrinking_taps, shrunk
from training.evaluation.datasets import Image8, Pair
from training.resize import shrink


def degraded_pairs(pairs: Iterable[Pair], scale: int, degradation: Degradation) -> list[Pair]:
    """(LR, HR) with LR made anew from HR by ``degradation``; without any, ``pairs`` as they are.

    Deterministic: picture n draws its noise from seed n, and takes the n-th of several JPEG qualities in turn. Pictures
    of one channel become RGB, as a JPEG from the web is.
    """
    if degradation == Degradation():
        return list(pairs)
    made = []
    for number, (_, large) in enumerate(pairs):
        sharp = large if large.ndim == 3 else np.repeat(large[:, :, None], 3, axis=2)
        made.append((degraded(sharp, scale, degradation, number), sharp))
    return made


def degraded(large: Image8, scale: int, degradation: Degradation, number: int = 0) -> Image8:
    """(H, W, 3) uint8 -> (H // scale, W // scale, 3) uint8: blur, shrinking, noise, JPEG, in this order."""
    small = shrink(large, scale) if not degradation.blur else _blurred(large, scale, degradation.blur)
    if degradation.noise:
        noise = gaussian_noise(torch.tensor([number]), small.shape)[0].numpy()
        small = np.clip(np.floor(small + degradation.noise * noise + 0.5), 0, 255).astype(np.uint8)
    if degradation.jpeg:
        small = jpeg.through_pillow(small, degradation.jpeg[number % len(degradation.jpeg)])
    return small


def _blurred(large: Image8, scale: int, sigma: float) -> Image8:
    taps, first = shrinking_taps(scale, sigma)
    height, width = (side // scale for side in large.shape[:2])
    before, after = -first, first + len(taps) - scale
    # Mirrored at the borders with the edge repeated, as MATLAB shrinks.
    around = ((before, after), (before, after), (0, 0))
    padded = np.pad(large[: height * scale, : width * scale], around, mode="symmetric")
    levels = torch.from_numpy(padded).permute(2, 0, 1)[None].float()
    return shrunk(levels, taps, scale)[0].permute(1, 2, 0).to(torch.uint8).numpy()
