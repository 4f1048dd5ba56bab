"""Bytes to pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from app.imaging import colour, metadata, png_source, tiff_source
from app.imaging.codec_errors import broken_if_fails
from app.imaging.header import Header, OpenedPicture, open_picture, release
from app.imaging.orientation import stored_view, swaps_axes
from app.imaging.picture import BrokenPictureError, Metadata, Picture, PictureTooLargeError, Pixels

FIRST_FRAME_ONLY = "first-frame-only"

# Above it, JPEG, PNG and TIFF of the common kinds come out of libvips row by row: Pillow takes 4 bytes a pixel. Below,
# what loading libvips costs (0.1 s, 30 MB) would not be saved.
STREAMED_PIXELS = 25_000_000

# Rows taken out of Pillow's image at a time: the copies on the way stay small beside the picture.
_BAND_ROWS = 64
_GREY_MODES = frozenset({"1", "L", "LA", "La"})

# (first stored row, colours (n, width, 1|3), alpha (n, width) or None)
Bands = Iterator[tuple[int, Pixels, Pixels | None]]
Empty = Callable[[tuple[int, ...], type[np.unsignedinteger[Any]]], Pixels]


@dataclass(frozen=True, slots=True)
class StoredRows:
    """A picture's pixels as its file stores them, on their way out of a decoder; made by ``open_rows``."""

    header: Header
    orientation: int
    """What turns the stored rows upright: 1..8."""
    height: int
    width: int
    """Of the stored rows, before they are turned."""
    metadata: Metadata
    """All that the file has; the profile may not fit the pixels: see ``colour.metadata_for``."""
    bands: Bands
    """From top to bottom, once."""
    columns: Callable[[int, int], tuple[Pixels, Pixels | None]] | None
    """Stored columns [first, last) of the whole height, as often as wanted; None where rows only pass by."""

    @property
    def notices(self) -> tuple[str, ...]:
        return (FIRST_FRAME_ONLY,) if self.header.frames > 1 else ()


def decode(file: BinaryIO, *, max_pixels: int | None) -> Picture:
    """The first frame of a picture file, upright, as 8- or 16-bit grey or RGB with straight alpha.

    ``file`` must be seekable; names and content types play no part. The pixel limit is checked on the header, before
    any pixel is decoded. Memory at the peak: the returned arrays and the codec's own buffer (see ``open_rows``), which
    is released before this returns.

    Raises PictureTooLargeError ``too_many_pixels``, UnsupportedPictureError and BrokenPictureError as ``read_header``
    does, and BrokenPictureError for pixels that are truncated or damaged.
    """
    with open_rows(file, max_pixels=max_pixels) as rows:
        return upright_picture(rows)


@contextmanager
def open_rows(
    file: BinaryIO, *, max_pixels: int | None, check: Callable[[OpenedPicture, bool], None] | None = None
) -> Iterator[StoredRows]:
    """The first frame of a picture file as rows; what it holds is released at the end of the block.

    Memory: nothing that grows with the picture where a decoder can stream it (16 bits; above ``STREAMED_PIXELS`` also
    8-bit JPEG, PNG and TIFF of the common kinds), else the codec's own buffer (4 bytes a pixel for JPEG and PNG). Both
    give the same pixels. ``check`` gets the header and whether rows will stream, before a pixel is decoded, and raises
    what it likes. Raises as ``decode`` does.
    """
    opened = open_picture(file)
    header = opened.header
    check_pixels(header.width, header.height, max_pixels)
    streams = (
        header.bits == 16
        if _needs_vips(opened)
        else header.width * header.height > STREAMED_PIXELS and _may_stream(opened)
    )
    if check is not None:
        check(opened, streams)
    try:
        yield _rows_of_vips(file, opened) if streams else _rows_of_pillow(opened)
    finally:
        if opened.image is not None:
            release(opened.image)


def check_pixels(width: int, height: int, max_pixels: int | None) -> None:
    """Raises PictureTooLargeError ``too_many_pixels`` for a source that is larger than allowed."""
    pixels = width * height
    if max_pixels is not None and pixels > max_pixels:
        raise PictureTooLargeError(
            "too_many_pixels",
            f"The picture has {width} x {height} = {pixels:,} pixels, more than the {max_pixels:,} allowed. "
            "Send a smaller one.",
            limit=max_pixels,
        )


def upright_picture(rows: StoredRows, *, empty: Empty = np.empty) -> Picture:
    """All the rows in upright arrays; turning costs no copy, since they are filled through turned views.

    ``empty(shape, dtype)`` gives the memory for them.
    """
    height, width = rows.height, rows.width
    if swaps_axes(rows.orientation):
        height, width = width, height
    dtype = np.uint16 if rows.header.bits == 16 else np.uint8
    pixels: Pixels | None = None
    alpha: Pixels | None = None
    for top, colours, opacity in rows.bands:
        if pixels is None:
            pixels = empty((height, width, colours.shape[2]), dtype)
            if opacity is not None:
                alpha = empty((height, width), dtype)
        place = slice(top, top + colours.shape[0])
        stored_view(pixels, rows.orientation)[place] = colours
        if alpha is not None and opacity is not None:
            stored_view(alpha, rows.orientation)[place] = opacity
    assert pixels is not None  # noqa: S101  # a header without rows was refused
    return Picture(
        pixels=pixels,
        alpha=alpha,
        source_format=rows.header.format,
        metadata=colour.metadata_for(rows.metadata, pixels.shape[2]),
        notices=rows.notices,
    )


def _needs_vips(opened: OpenedPicture) -> bool:
    """Pillow keeps 16 bits only for grey; it knows grey TIFF less well than libvips."""
    if opened.header.bits != 16:
        return False
    image = opened.image
    return image is None or opened.header.format == "tiff" or not image.mode.startswith("I")


def _may_stream(opened: OpenedPicture) -> bool:
    """Whether libvips gives the very pixels that Pillow does, a few rows at a time: for plain 8-bit grey or RGB."""
    image = opened.image
    assert image is not None  # noqa: S101  # only a 16-bit TIFF comes without
    if opened.header.format == "jpeg":
        return image.mode in ("L", "RGB")
    if opened.header.format == "png":
        plain = image.mode in ("L", "LA", "RGB", "RGBA") and "transparency" not in image.info
        return plain and opened.stored_bits == 8 and not image.info.get("interlace")
    return opened.page is not None and image.mode in ("L", "RGB", "RGBA") and opened.page.plain


def _rows_of_pillow(opened: OpenedPicture) -> StoredRows:
    image = opened.image
    assert image is not None  # noqa: S101  # only a TIFF for libvips comes without
    announced = image.size
    with broken_if_fails("its pixels"):
        image.load()
    if image.size != announced:  # HEIC says its size in two places
        raise BrokenPictureError(
            "broken_picture", "The picture is damaged: its pixels have another size than its header says."
        )
    found = _metadata(opened)
    convert = _converter(image, opened.stored_bits)

    def columns(first: int, last: int) -> tuple[Pixels, Pixels | None]:
        with broken_if_fails("its colours"):
            return convert(image.crop((first, 0, last, image.height)))

    bands = _pillow_bands(image, convert)
    return StoredRows(opened.header, opened.orientation, image.height, image.width, found, bands, columns)


def _metadata(opened: OpenedPicture) -> Metadata:
    """Read after the pixels: PNG may carry EXIF and XMP behind them."""
    if opened.image is None:
        return Metadata()
    with broken_if_fails("its metadata"):
        found = metadata.read_metadata(opened.image)
        if opened.page is not None:
            found = replace(found, exif=tiff_source.read_exif(opened.image))
        return found


def _pillow_bands(image: Image.Image, convert: Callable[[Image.Image], tuple[Pixels, Pixels | None]]) -> Bands:
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


def _rows_of_vips(file: BinaryIO, opened: OpenedPicture) -> StoredRows:
    with broken_if_fails("its pixels"):
        # Loaded when the first such picture arrives, so that start-up stays quick and small.
        from app.imaging import vips_source  # noqa: PLC0415

        found = _metadata(opened)
        if opened.header.format == "png" and found.xmp is None:
            found = replace(found, xmp=metadata.upright_xmp(png_source.late_xmp(file)))
        image = vips_source.open_rows(file, opened.header.format, bits=opened.header.bits)
        stored = int(image.height), int(image.width)
    # Pillow turns 8-bit TIFFs upright by itself, libvips does not.
    turn = opened.orientation if opened.page is None else opened.page.orientation
    return StoredRows(opened.header, turn, *stored, found, _vips_bands(vips_source.bands(image), opened), None)


def _vips_bands(bands: Iterator[tuple[int, Pixels]], opened: OpenedPicture) -> Bands:
    with broken_if_fails("its pixels"):
        for top, samples in bands:
            yield _wide_band(top, samples, opened)


def _wide_band(top: int, samples: Pixels, opened: OpenedPicture) -> tuple[int, Pixels, Pixels | None]:
    page = opened.page
    if page is None:
        return (top, *_split(samples))
    colours = samples[:, :, : page.colours]
    return top, colours, samples[:, :, page.colours] if page.alpha else None
