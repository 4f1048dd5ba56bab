"""A network (PyTorch or ONNX) over a whole picture, and its PSNR over a folder of pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import nn

from training.equalize import match_colours
from training.evaluation.datasets import Image8, Pair
from training.evaluation.lpips import Distance
from training.evaluation.metrics import chroma, luma, psnr, shave, ssim
from training.resize import matlab_resize

Restorer = Callable[[Image8], Image8]
"""(H, W, 3) RGB -> (scale*H, scale*W, 3), both uint8."""


def device_of(network: nn.Module) -> torch.device:
    """Where ``network`` lives; the CPU for one that holds no tensor."""
    return next((tensor.device for tensor in chain(network.parameters(), network.buffers())), torch.device("cpu"))


def torch_restorer(network: nn.Module) -> Restorer:
    """Runs ``network`` in float32 over whole pictures: clamp to [0, 1], times 255, round half to even."""
    device = device_of(network)

    @torch.no_grad()
    def restore(image: Image8) -> Image8:
        batch = torch.tensor(image, device=device).permute(2, 0, 1)[None].float() / 255.0
        out = network(batch.contiguous(memory_format=torch.channels_last)).clamp(0.0, 1.0) * 255.0
        return out.round().to(torch.uint8)[0].permute(1, 2, 0).cpu().numpy()

    return restore


def bicubic_restorer(scale: int) -> Restorer:
    """The row that proves the protocol: bicubic enlargement as MATLAB makes it."""
    return lambda image: matlab_resize(image, scale)


def onnx_restorer(model: Path | bytes) -> Restorer:
    """A shipped model file, or its content (uint8 NHWC in and out), whole pictures on the CPU."""
    import onnxruntime  # noqa: PLC0415  (only this needs it)

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return lambda image: session.run(None, {"image": np.ascontiguousarray(image)[None]})[0][0]


def equalized(restore: Restorer) -> Restorer:
    """``restore``, and then the colour distribution of its input: the original's ``--equalize-colors``."""
    return lambda image: match_colours(restore(image), image)


def restore_any(restore: Restorer, image: Image8) -> Image8:
    """``restore`` for (H, W, 3), and for (H, W), which is run as three equal channels and averaged."""
    if image.ndim == 3:
        return restore(image)
    out = restore(np.repeat(image[:, :, None], 3, axis=2))
    return np.floor(out.astype(np.float32).mean(axis=2) + 0.5).astype(np.uint8)


def cut_to(large: Image8, scale: int) -> Image8:
    """The sharp picture cut from the top left to multiples of ``scale``: what a restored one is compared with."""
    height, width = (side - side % scale for side in large.shape[:2])
    return large[:height, :width]


def compare(
    restored: Image8, sharp: Image8, scale: int, *, grey_as_rgb: bool = False, lpips: Distance | None = None
) -> dict[str, float]:
    """``psnr`` (dB) and ``ssim`` of two equal-sized pictures, ``scale`` pixels shaved.

    With ``lpips`` its distance, of the whole pictures in RGB, is there too, under that name.
    """
    first, second = (shave(luma(image, grey_as_rgb=grey_as_rgb), scale) for image in (restored, sharp))
    row = {"psnr": psnr(first, second), "ssim": ssim(first, second)}
    return row | {"lpips": lpips.of_pictures(restored, sharp)} if lpips else row


def chroma_psnr(restored: Image8, sharp: Image8, scale: int) -> float | None:
    """PSNR (dB) of Cb and Cr together, ``scale`` pixels shaved: what ``compare``'s, on luma, does not see.

    None where there is no colour to get wrong: both are grey.
    """
    if all(image.ndim == 2 or not np.ptp(image, axis=2).any() for image in (restored, sharp)):
        return None
    first, second = (shave(chroma(image), scale) for image in (restored, sharp))
    return psnr(first, second)


def scores(
    restore: Restorer,
    small: Image8,
    large: Image8,
    scale: int,
    *,
    grey_as_rgb: bool = False,
    lpips: Distance | None = None,
) -> dict[str, float]:
    """What ``compare`` tells of one restored picture and the sharp one, cut to multiples of ``scale``."""
    sharp = cut_to(large, scale)
    return compare(restore_any(restore, small), sharp, scale, grey_as_rgb=grey_as_rgb, lpips=lpips)


def mean_scores(
    restore: Restorer,
    pairs: Iterable[Pair],
    scale: int,
    *,
    grey_as_rgb: bool = False,
    lpips: Distance | None = None,
) -> dict[str, float]:
    """Means over ``pairs`` of what ``scores`` measures per picture, rounded to 4 decimals."""
    rows = [scores(restore, small, large, scale, grey_as_rgb=grey_as_rgb, lpips=lpips) for small, large in pairs]
    return {key: round(float(np.mean([row[key] for row in rows])), 4) for key in rows[0]}
