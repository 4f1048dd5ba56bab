"""ICC profiles: what fits which pixels, CMYK to RGB, and to sRGB where a profile is going to be dropped."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from app.imaging.picture import Metadata, Picture, Pixels

# Rows converted at a time: small against the picture, large against the cost of a call.
_BAND_ROWS = 128
_INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC
_FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION
# Two profiles that agree within this many levels on the probe are the same colours.
_SAME_WITHIN = 1


def profile_space(icc: bytes | None) -> str | None:
    """The colour space in the profile's header, e.g. ``RGB``, ``GRAY``, ``CMYK``, ``Lab``; None without one."""
    if icc is None or len(icc) < 128 or icc[36:40] != b"acsp":
        return None
    return icc[16:20].decode("latin-1").strip()


def fitting_profile(icc: bytes | None, channels: int) -> bytes | None:
    """The profile where it describes pixels of 1 (grey) or 3 (RGB) channels, else None."""
    wanted = "GRAY" if channels == 1 else "RGB"
    return icc if profile_space(icc) == wanted else None


class ToRgb:
    """Converts bands of CMYK or Lab (8 bit, Pillow images) to sRGB, through their profile where it fits."""

    def __init__(self, mode: str, icc: bytes | None) -> None:
        space = {"CMYK": "CMYK", "LAB": "Lab"}[mode]
        self._transform: ImageCms.ImageCmsTransform | None = None
        try:
            if icc is not None and profile_space(icc) == space:
                self._transform = _transform(_open_profile(icc), mode)
            elif mode == "LAB":
                self._transform = _transform(ImageCms.createProfile("LAB"), mode)
        except ImageCms.PyCMSError:
            pass  # a damaged profile: the plain conversion is better than no picture

    def __call__(self, band: Image.Image) -> Image.Image:
        """An RGB image of the same size."""
        if self._transform is None:
            return band.convert("RGB")
        return self._transform.apply(band)


def to_srgb(picture: Picture) -> Picture:
    """The same picture in sRGB and without an ICC profile; call it before a profile is dropped.

    Pictures without a profile, and those whose profile is sRGB in all but name, keep their pixels. A grey picture stays
    grey. Alpha is not touched. A profile that cannot be used is dropped.
    """
    without = replace(picture.metadata, icc=None)
    convert = srgb_conversion(picture.metadata.icc, picture.channels, picture.bits)
    if convert is None:
        return replace(picture, metadata=without)
    pixels = np.empty_like(picture.pixels)
    for top in range(0, picture.height, _BAND_ROWS):
        pixels[top : top + _BAND_ROWS] = convert(picture.pixels[top : top + _BAND_ROWS])
    return replace(picture, pixels=pixels, metadata=without)


def srgb_conversion(icc: bytes | None, channels: int, bits: int) -> Callable[[Pixels], Pixels] | None:
    """What takes rows (n, width, channels) in the profile ``icc`` to sRGB, each pixel by itself; None where they stay.

    8-bit rows go through Little CMS directly; 16-bit ones through libvips, which keeps 16 bits (Pillow's binding has 8
    only).
    """
    fitting = fitting_profile(icc, channels)
    if fitting is None:
        return None
    try:
        transform = _transform(_open_profile(fitting), "L" if channels == 1 else "RGB")
        if _is_identity(transform, channels):
            return None
        if bits == 8:
            return partial(_convert_8, transform=transform)
        # Once, since libvips may refuse what Little CMS takes: told here, not in the middle of a picture.
        _convert_16(np.zeros((1, 1, channels), np.uint16), icc=fitting)
    except ImageCms.PyCMSError:
        return None
    return partial(_convert_16, icc=fitting)


def metadata_for(metadata: Metadata, channels: int) -> Metadata:
    """Metadata without a profile that does not describe pixels of ``channels`` channels."""
    return replace(metadata, icc=fitting_profile(metadata.icc, channels))


def _open_profile(icc: bytes) -> Any:
    try:
        return ImageCms.ImageCmsProfile(io.BytesIO(icc))
    except OSError as error:
        raise ImageCms.PyCMSError(error) from error


def _transform(source: Any, mode: str) -> ImageCms.ImageCmsTransform:
    srgb = ImageCms.createProfile("sRGB")
    return ImageCms.buildTransform(source, srgb, mode, "RGB", _INTENT, _FLAGS)


def _is_identity(transform: ImageCms.ImageCmsTransform, channels: int) -> bool:
    """Whether sRGB comes out as it went in, on a ramp per channel, greys and the corners of the cube."""
    ramp = np.linspace(0, 255, 33).astype(np.uint8)
    if channels == 1:
        probe = ramp[None, :]
        expected = np.repeat(ramp[:, None], 3, axis=1)
    else:
        greys = np.repeat(ramp[:, None], 3, axis=1)
        singles = np.concatenate([np.outer(ramp, axis) for axis in np.eye(3, dtype=np.uint8)])
        corners = np.array([(r, g, b) for r in (0, 255) for g in (0, 255) for b in (0, 255)], np.uint8)
        expected = np.concatenate([greys, singles, corners]).astype(np.uint8)
        probe = expected[None]
    got = np.asarray(transform.apply(Image.fromarray(probe)))[0]
    return int(np.abs(got.astype(int) - expected).max()) <= _SAME_WITHIN


def _convert_8(rows: Pixels, *, transform: ImageCms.ImageCmsTransform) -> Pixels:
    grey = rows.shape[2] == 1
    image = Image.fromarray(rows[:, :, 0] if grey else rows)
    # All three channels of a converted grey are equal.
    return np.asarray(transform.apply(image))[:, :, : rows.shape[2]]


def _convert_16(rows: Pixels, *, icc: bytes) -> Pixels:
    from app.imaging import vips_source  # noqa: PLC0415  # loads libvips, which 8-bit pictures never need

    try:
        converted = vips_source.to_srgb_16(rows, icc)
    except vips_source.Error as error:
        raise ImageCms.PyCMSError(error) from error
    return converted[:, :, : rows.shape[2]]
