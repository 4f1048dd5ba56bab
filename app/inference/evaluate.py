"""Measures models on one sharp picture: shrinks it by the protocol, has each restore it, and compares."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np

from app.imaging import bicubic
from app.imaging.colour import to_srgb
from app.imaging.decoder import Decoder, DecodingCancelledError
from app.imaging.likeness import SMALLEST as SMALLEST_SSIM
from app.imaging.likeness import luma, psnr, shaved, ssim
from app.imaging.picture import Picture, PictureTooLargeError, Pixels, UnsupportedPictureError
from app.inference.engine import Engine
from app.inference.errors import UpscaleCancelledError
from app.inference.lpips import SMALLEST as SMALLEST_LPIPS
from app.inference.lpips import Lpips
from app.inference.registry import Variant
from app.inference.upscale import upscale


@dataclass(frozen=True, slots=True)
class Restored:
    """What one method made of the shrunk picture."""

    variant: Variant | None
    """None for bicubic, with which all are compared."""
    pixels: Pixels
    """(H, W, 1 or 3) uint8."""
    psnr: float | None
    """dB on luma, ``scale`` pixels shaved; None for a picture equal to the original."""
    ssim: float
    """On the same luma."""
    lpips: float | None
    """None where LPIPS is not installed."""
    seconds: float
    """That computing took; wall time."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A picture, what was left of it, and what became of that."""

    scale: int
    original: Pixels
    """(H, W, 1 or 3) uint8, cut from the top left to multiples of the scale."""
    shrunk: Pixels
    restored: tuple[Restored, ...]
    """Bicubic first, then the models as they were asked for."""


def evaluate(
    source: BinaryIO,
    variants: Sequence[Variant],
    engine: Engine,
    decoder: Decoder,
    *,
    scale: int,
    max_pixels: int,
    lpips: Lpips | None,
    cancelled: Callable[[], bool],
) -> Evaluation:
    """Evaluates models, all of this scale, on the picture in ``source``. Blocks for as long as they compute.

    Transparency is left out, 16 bits are rounded to 8, colours are compared in sRGB. ``cancelled`` is asked between
    tiles. Raises the families of ImagingError (``too_many_pixels`` above ``max_pixels``, ``picture_too_small``) and
    InferenceError.
    """
    original = _original(source, decoder, scale, max_pixels, cancelled)
    shrunk = bicubic.shrink(original, scale)
    began = time.perf_counter()
    enlarged = bicubic.enlarge(shrunk, scale)
    restored = [_measured(None, original, enlarged, scale=scale, lpips=lpips, seconds=time.perf_counter() - began)]
    for variant in variants:
        began = time.perf_counter()
        picture = Picture(pixels=shrunk, alpha=None, source_format="png")
        bands = list(upscale(picture, variant, engine, cancelled=cancelled).bands())
        seconds = time.perf_counter() - began
        restored.append(_measured(variant, original, np.concatenate(bands), scale=scale, lpips=lpips, seconds=seconds))
    return Evaluation(scale, original, shrunk, tuple(restored))


def _original(source: BinaryIO, decoder: Decoder, scale: int, max_pixels: int, cancelled: Callable[[], bool]) -> Pixels:
    header = decoder.read_header(source)
    if header.width * header.height > max_pixels:
        raise PictureTooLargeError(
            "too_many_pixels",
            f"The picture has {header.width} x {header.height} pixels, and {max_pixels:,} are evaluated at most. Cut a "
            "part out of it and send that.",
            limit=max_pixels,
        )
    smallest = max((SMALLEST_SSIM + 2 * scale), SMALLEST_LPIPS) + scale
    if min(header.width, header.height) < smallest:
        raise UnsupportedPictureError(
            "picture_too_small",
            f"The picture has {header.width} x {header.height} pixels, too few to be shrunk {scale} times and "
            f"measured. Send one of at least {smallest} x {smallest}.",
            limit=smallest,
        )
    source.seek(0)
    try:
        picture = decoder.decode(source, max_pixels=max_pixels, cancelled=cancelled)
    except DecodingCancelledError as error:
        raise UpscaleCancelledError("The evaluation was cancelled.") from error
    pixels = to_srgb(replace(picture, alpha=None)).pixels
    if pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    height, width = (side - side % scale for side in pixels.shape[:2])
    return np.ascontiguousarray(pixels[:height, :width])


def _measured(
    variant: Variant | None, original: Pixels, pixels: Pixels, *, scale: int, lpips: Lpips | None, seconds: float
) -> Restored:
    wanted, given = (shaved(luma(each), scale) for each in (original, pixels))
    distance = None if lpips is None else lpips.distance(_colours(original), _colours(pixels))
    return Restored(variant, pixels, psnr(wanted, given), ssim(wanted, given), distance, seconds)


def _colours(pixels: Pixels) -> Pixels:
    return pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
