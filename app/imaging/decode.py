"""Bytes to pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import BinaryIO

import numpy as np
from PIL import Image

from app.imaging import colour, metadata, tiff_source
from app.imaging.codec_errors import broken_if_fails
from app.imaging.header import OpenedPicture, open_picture, release
from app.imaging.orientation import stored_view, swaps_axes
from app.imaging.picture import BrokenPictureError, Metadata, Picture, PictureTooLargeError, Pixels

FIRST_FRAME_ONLY = "first-frame-only"

# Rows taken out of Pillow's image at a time: the copies on the way stay small beside the picture.
_BAND_ROWS = 64
_GREY_MODES = frozenset({"1", "L", "LA", "La"})

# (first stored row, colours (n, width, 1|3), alpha (n, width) or None)
_Bands = Iterator[tuple[int, Pixels, Pixels | None]]


def decode(file: BinaryIO, *, max_pixels: int | None) -> Picture:
    """The first frame of a picture file, upright, as 8- or 16-bit grey or RGB with straight alpha.

    ``file`` must be seekable; names and content types play no part. The pixel limit is checked on the header,
    before any pixel is decoded. Memory at the peak: the returned arrays and the codec's own buffer (4 bytes a
    pixel for 8-bit JPEG and PNG), which is released before this returns.

    Raises PictureTooLargeError ``too_many_pixels``, UnsupportedPictureError and BrokenPictureError as
    ``read_header`` does, and BrokenPictureError for pixels that are truncated or damaged.
    """
    opened = open_picture(file)
    header = opened.header
    pixels_in_file = header.width * header.height
    if max_pixels is not None and pixels_in_file > max_pixels:
        raise PictureTooLargeError(
            "too_many_pixels",
            f"The picture has {header.width} x {header.height} = {pixels_in_file:,} pixels, more than the "
            f"{max_pixels:,} allowed. Send a smaller one.",
            limit=max_pixels,
        )
    picture = _decode_with_vips(file, opened) if _needs_vips(opened) else _decode_with_pillow(opened)
    if header.frames > 1:
        picture = replace(picture, notices=(*picture.notices, FIRST_FRAME_ONLY))
    return picture


def _needs_vips(opened: OpenedPicture) -> bool:
    """Pillow keeps 16 bits only for grey; it knows grey TIFF less well than libvips."""
    if opened.header.bits != 16:
        return False
    image = opened.image
    return image is None or opened.header.format == "tiff" or not image.mode.startswith("I")


def _decode_with_pillow(opened: OpenedPicture) -> Picture:
    image = opened.image
    assert image is not None  # noqa: S101  # only a TIFF for libvips comes without
    try:
        announced = image.size
        with broken_if_fails("its pixels"):
            image.load()
        if image.size != announced:  # HEIC says its size in two places
            raise BrokenPictureError(
                "broken_picture", "The picture is damaged: its pixels have another size than its header says."
            )
        found = _metadata(opened)
        bands = _pillow_bands(image, opened.stored_bits)
        return _assemble(opened, bands, (image.height, image.width), found)
    finally:
        release(image)


def _metadata(opened: OpenedPicture) -> Metadata:
    """Read after the pixels: PNG may carry EXIF and XMP behind them."""
    if opened.image is None:
        return Metadata()
    with broken_if_fails("its metadata"):
        found = metadata.read_metadata(opened.image)
        if opened.page is not None:
            found = replace(found, exif=tiff_source.read_exif(opened.image))
        return found


def _assemble(opened: OpenedPicture, bands: _Bands, stored: tuple[int, int], found: Metadata) -> Picture:
    """Writes bands into upright arrays; turning costs no copy, since they are filled through turned views."""
    height, width = stored
    if swaps_axes(opened.orientation):
        height, width = width, height
    dtype = np.uint16 if opened.header.bits == 16 else np.uint8
    pixels: Pixels | None = None
    alpha: Pixels | None = None
    for top, colours, opacity in bands:
        if pixels is None:
            pixels = np.empty((height, width, colours.shape[2]), dtype)
            if opacity is not None:
                alpha = np.empty((height, width), dtype)
        rows = slice(top, top + colours.shape[0])
        stored_view(pixels, opened.orientation)[rows] = colours
        if alpha is not None and opacity is not None:
            stored_view(alpha, opened.orientation)[rows] = opacity
    assert pixels is not None  # noqa: S101  # a header without rows was refused
    return Picture(
        pixels=pixels,
        alpha=alpha,
        source_format=opened.header.format,
        metadata=colour.metadata_for(found, pixels.shape[2]),
    )


def _pillow_bands(image: Image.Image, stored_bits: int) -> _Bands:
    convert = _converter(image, stored_bits)
    for top in range(0, image.height, _BAND_ROWS):
        bottom = min(top + _BAND_ROWS, image.height)
        with broken_if_fails("its colours"):
            colours, alpha = convert(image.crop((0, top, image.width, bottom)))
        yield top, colours, alpha


def _converter(image: Image.Image, stored_bits: int) -> Callable[[Image.Image], tuple[Pixels, Pixels | None]]:
    """How a band of this image becomes (colours, alpha)."""
    mode = image.mode
    transparent = image.info.get("transparency")
    if mode.startswith("I"):
        return lambda band: _grey_16(band, transparent)
    if mode in ("CMYK", "LAB"):
        to_rgb = colour.ToRgb(mode, image.info.get("icc_profile"))
        # Adobe writes CMYK JPEG inverted and marks it; Pillow turns every CMYK JPEG round, marked or not.
        inverted = image.format in ("JPEG", "MPO") and "adobe" not in image.info
        return lambda band: (np.asarray(to_rgb(_inverted(band) if inverted else band)), None)
    if mode in ("P", "PA"):
        target = "RGBA" if mode == "PA" or transparent is not None else "RGB"
        return lambda band: _split(np.asarray(band.convert(target)))
    if image.format == "GIF":  # a palette picture, though Pillow calls one with a grey ramp grey
        target = "RGBA" if mode in ("LA", "RGBA") or transparent is not None else "RGB"
        return lambda band: _split(np.asarray(band.convert(target)))
    if mode in _GREY_MODES:
        target = "LA" if mode in ("LA", "La") else "L"
    else:
        target = "RGBA" if mode in ("RGBA", "RGBa") else "RGB"
    if transparent is not None and target in ("L", "RGB"):
        key = _key_levels(image, stored_bits)
        return lambda band: _keyed(np.asarray(band.convert(target)), key)
    return lambda band: _split(np.asarray(band.convert(target)))


def _split(array: Pixels) -> tuple[Pixels, Pixels | None]:
    """(n, width[, 1..4]) to colours and alpha."""
    if array.ndim == 2:
        return array[:, :, None], None
    if array.shape[2] in (2, 4):
        return array[:, :, :-1], array[:, :, -1]
    return array, None


def _key_levels(image: Image.Image, stored_bits: int) -> Pixels:
    """The one transparent colour of a grey or RGB PNG, in 8-bit levels."""
    key = np.atleast_1d(np.asarray(image.info["transparency"]))
    # Pillow widens the pixels of 2- and 4-bit files to 8 bits, but not the key.
    factor = 255 // ((1 << stored_bits) - 1) if stored_bits in (2, 4) else 1
    return key * factor


def _keyed(array: Pixels, key: Pixels) -> tuple[Pixels, Pixels]:
    colours = array if array.ndim == 3 else array[:, :, None]
    transparent = (colours == key).all(axis=2)
    top_level = np.iinfo(colours.dtype).max
    return colours, np.where(transparent, 0, top_level).astype(colours.dtype)


def _grey_16(band: Image.Image, transparent: object) -> tuple[Pixels, Pixels | None]:
    grey = np.asarray(band).astype(np.uint16)[:, :, None]
    if isinstance(transparent, int):
        return _keyed(grey, np.array([transparent]))
    return grey, None


def _inverted(band: Image.Image) -> Image.Image:
    return Image.fromarray(255 - np.asarray(band), band.mode)


def _decode_with_vips(file: BinaryIO, opened: OpenedPicture) -> Picture:
    with broken_if_fails("its pixels"):
        # Loaded when the first such picture arrives, so that start-up stays quick and small.
        from app.imaging import vips_source  # noqa: PLC0415

        found = _metadata(opened)
        image = vips_source.open_16(file, opened.header.format)
        stored = (int(image.height), int(image.width))
        bands = (_wide_band(top, samples, opened) for top, samples in vips_source.bands(image))
        picture = _assemble(opened, bands, stored, found)
    if opened.image is not None:
        release(opened.image)
    return picture


def _wide_band(top: int, samples: Pixels, opened: OpenedPicture) -> tuple[int, Pixels, Pixels | None]:
    page = opened.page
    if page is None:
        return (top, *_split(samples))
    colours = samples[:, :, : page.colours]
    return top, colours, samples[:, :, page.colours] if page.alpha else None
