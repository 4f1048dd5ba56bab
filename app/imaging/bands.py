"""A picture decoded once and kept as bands of raw rows, which may lie anywhere: memory, a disk, a bucket."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO, Literal

import numpy as np

from app.imaging import colour, jpeg_source
from app.imaging.decode import StoredRows, open_rows, upright_picture
from app.imaging.header import OpenedPicture
from app.imaging.orientation import reverses_rows, stored_view, swaps_axes
from app.imaging.picture import Metadata, Picture, PictureTooLargeError, Pixels
from app.imaging.raw_rows import pack, unpack

BAND_ROWS = 128
"""Height of a band where the caller has no wish: 10,000 px wide, 4 MB of RGB."""

# What a decoder may hold of a picture that it cannot hand out in pieces. With the rest of the process (100 MB) and the
# bands under way it stays below 700 MB.
_MOST_BYTES = 500_000_000
# Bytes a pixel while Pillow decodes the whole, measured as peaks of the process above the file's own size.
_WHOLE_BYTES = {"webp": 13, "avif": 8, "heic": 8, "gif": 6}
# Pillow turns a TIFF upright by making a second picture.
_TURNED_TIFF_BYTES = 8


@dataclass(frozen=True, slots=True)
class SourceLayout:
    """What is known of a source once it lies in bands; enough to read them and to write the result."""

    width: int
    height: int
    """Of the upright picture."""
    channels: int
    """1 grey, 2 grey + alpha, 3 RGB, 4 RGB + alpha."""
    bits: int
    """8 or 16."""
    band_rows: int
    """Rows of every band but the last, which may be lower."""
    source_format: str
    """As ``Picture.source_format``."""
    metadata: Metadata = field(default_factory=Metadata)
    notices: tuple[str, ...] = ()
    """As ``Picture.notices``."""
    constant_alpha: int | None = None
    """The one level of alpha, where there is alpha and it does not vary."""

    @property
    def bands(self) -> int:
        """How many there are, numbered from 0."""
        return -(-self.height // self.band_rows)

    @property
    def colours(self) -> int:
        """Channels without alpha: 1 or 3."""
        return 1 if self.channels <= 2 else 3

    @property
    def has_alpha(self) -> bool:
        return self.channels in (2, 4)

    def to_json(self) -> dict[str, Any]:
        """Of JSON's own types; a few hundred bytes and the metadata in base64."""
        found = self.metadata
        return {
            "width": self.width,
            "height": self.height,
            "channels": self.channels,
            "bits": self.bits,
            "band_rows": self.band_rows,
            "source_format": self.source_format,
            "notices": list(self.notices),
            "constant_alpha": self.constant_alpha,
            "icc": _text(found.icc),
            "exif": _text(found.exif),
            "xmp": _text(found.xmp),
            "dpi": None if found.dpi is None else list(found.dpi),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> SourceLayout:
        """What ``to_json`` gave. Raises KeyError, TypeError or ValueError for anything else."""
        dpi = content["dpi"]
        return cls(
            width=int(content["width"]),
            height=int(content["height"]),
            channels=int(content["channels"]),
            bits=int(content["bits"]),
            band_rows=int(content["band_rows"]),
            source_format=str(content["source_format"]),
            metadata=Metadata(
                icc=_bytes(content["icc"]),
                exif=_bytes(content["exif"]),
                xmp=_bytes(content["xmp"]),
                dpi=None if dpi is None else (float(dpi[0]), float(dpi[1])),
            ),
            notices=tuple(str(notice) for notice in content["notices"]),
            constant_alpha=None if content["constant_alpha"] is None else int(content["constant_alpha"]),
        )


def write_bands(
    file: BinaryIO,
    sink: Callable[[int, bytes], None],
    *,
    max_pixels: int | None,
    band_rows: int = BAND_ROWS,
    metadata: Literal["keep", "strip"] = "keep",
) -> SourceLayout:
    """Decodes the picture in ``file`` (seekable) once; ``sink`` gets every band's number and packed rows, in any order.

    The pixels are those of ``decode``, converted to sRGB first where ``metadata`` is ``strip``. Memory stays below 700
    MB whatever the picture: common JPEG, PNG and TIFF come row by row and take less than 200 MB, others are decoded
    whole. A
    ``file`` that is no real file is read into memory besides. What ``sink`` raises is passed on.

    Raises what ``decode`` does; PictureTooLargeError ``too_many_pixels`` also for a picture that can only be decoded
    whole and is too large for that, before a pixel is decoded.
    """
    with open_rows(file, max_pixels=max_pixels, check=_check_memory(file)) as rows:
        cutter = _Cutter(rows, sink, band_rows, strip=metadata == "strip")
        if not swaps_axes(rows.orientation):
            for top, colours, alpha in rows.bands:
                cutter.take(top, colours, alpha)
        elif rows.columns is not None:
            cutter.take_columns(rows.columns)
        else:
            picture = upright_picture(rows)
            for top in range(0, picture.height, band_rows):
                place = slice(top, top + band_rows)
                cutter.take_upright(top, picture.pixels[place], None if picture.alpha is None else picture.alpha[place])
        return cutter.layout()


def read_rows(layout: SourceLayout, get: Callable[[int], bytes], top: int, bottom: int) -> Picture:
    """Rows [top, bottom) of the source, 0 <= top < bottom <= height; ``get`` gives a band's packed rows by its number.

    Raises ValueError for a band that is not what ``write_bands`` gave.
    """
    if not 0 <= top < bottom <= layout.height:
        raise ValueError(f"rows {top} to {bottom} of a picture of {layout.height}")
    kind = np.uint16 if layout.bits == 16 else np.uint8
    pixels = np.empty((bottom - top, layout.width, layout.colours), kind)
    alpha = np.empty((bottom - top, layout.width), kind) if layout.has_alpha else None
    for number in range(top // layout.band_rows, (bottom - 1) // layout.band_rows + 1):
        first = number * layout.band_rows
        expected = (min(layout.band_rows, layout.height - first), layout.width, layout.channels)
        (band,) = unpack(get(number))
        if band.shape != expected or band.dtype != kind:
            raise ValueError(f"band {number} holds {band.shape} {band.dtype}, expected {expected}")
        low, high = max(top, first), min(bottom, first + expected[0])
        wanted = band[low - first : high - first]
        pixels[low - top : high - top] = wanted[:, :, : layout.colours]
        if alpha is not None:
            alpha[low - top : high - top] = wanted[:, :, layout.colours]
    return Picture(pixels, alpha, layout.source_format, layout.metadata, layout.notices)


def _check_memory(file: BinaryIO) -> Callable[[OpenedPicture, bool], None]:
    def check(opened: OpenedPicture, streams: bool) -> None:
        header = opened.header
        held, kind = _held_bytes_per_pixel(file, opened, streams)
        pixels = header.width * header.height
        if pixels * held > _MOST_BYTES:
            most = int(_MOST_BYTES / held)
            raise PictureTooLargeError(
                "too_many_pixels",
                f"The picture has {header.width} x {header.height} = {pixels:,} pixels. {kind} is decoded whole, "
                f"and is taken up to {most:,} pixels. Save it as baseline JPEG, plain TIFF or PNG, upright.",
                limit=most,
            )

    return check


def _held_bytes_per_pixel(file: BinaryIO, opened: OpenedPicture, streams: bool) -> tuple[float, str]:
    """(bytes a pixel that the decoder holds of the whole picture, what to call such a picture)."""
    header, page = opened.header, opened.page
    name = header.format.upper()
    held = 0.0
    if header.format == "jpeg":
        held = jpeg_source.held_bytes_per_pixel(file)
        name = "A progressive JPEG" if held else "A JPEG of this kind"
    elif header.format == "png":
        name = "A PNG of this kind"
    elif page is not None:
        name = "A TIFF of this kind"
    if streams:
        turned = swaps_axes(opened.orientation if page is None else page.orientation)
        # Neither decoder nor we could turn such rows without having all of them.
        return held + (opened.header.bits // 8 * 4 if turned else 0), name
    if page is not None and page.orientation != 1:
        return _TURNED_TIFF_BYTES, name
    return held + _WHOLE_BYTES.get(header.format, 4), name


class _Cutter:
    """Takes rows as a file stores them and hands out the upright picture's bands, each as soon as it is full."""

    def __init__(self, rows: StoredRows, sink: Callable[[int, bytes], None], band_rows: int, *, strip: bool) -> None:
        self._rows = rows
        self._sink = sink
        self._band_rows = band_rows
        self._strip = strip
        self._turned = swaps_axes(rows.orientation)
        self._height, self._width = (rows.width, rows.height) if self._turned else (rows.height, rows.width)
        self._open: dict[int, tuple[Pixels, int]] = {}
        """Bands that are being filled, and how many of their rows are."""
        self._layout: SourceLayout | None = None
        self._convert: Callable[[Pixels], Pixels] | None = None
        self._varies = False

    def take(self, top: int, colours: Pixels, alpha: Pixels | None) -> None:
        """Stored rows from ``top``, where the axes stay."""
        view = stored_view(colours, self._rows.orientation)
        opacity = None if alpha is None else stored_view(alpha, self._rows.orientation)
        if reverses_rows(self._rows.orientation):
            top = self._height - top - colours.shape[0]
        self.take_upright(top, view, opacity)

    def take_columns(self, columns: Callable[[int, int], tuple[Pixels, Pixels | None]]) -> None:
        """All of a picture whose stored columns are the upright rows."""
        orientation = self._rows.orientation
        for top in range(0, self._height, self._band_rows):
            bottom = min(self._height, top + self._band_rows)
            backwards = reverses_rows(orientation)
            stored, opacity = columns(
                self._height - bottom if backwards else top, self._height - top if backwards else bottom
            )
            upright = np.empty((bottom - top, self._width, stored.shape[2]), stored.dtype)
            stored_view(upright, orientation)[:] = stored
            alpha = None
            if opacity is not None:
                alpha = np.empty((bottom - top, self._width), opacity.dtype)
                stored_view(alpha, orientation)[:] = opacity
            self.take_upright(top, upright, alpha)

    def take_upright(self, top: int, colours: Pixels, alpha: Pixels | None) -> None:
        """Rows of the upright picture from ``top``."""
        layout = self._layout or self._begin(colours, alpha)
        if alpha is not None and not self._varies:
            self._varies = not bool((alpha == layout.constant_alpha).all())
        if self._convert is not None:
            colours = self._convert(np.ascontiguousarray(colours))
        at = 0
        while at < colours.shape[0]:
            number, row = divmod(top + at, layout.band_rows)
            height = min(layout.band_rows, layout.height - number * layout.band_rows)
            count = min(height - row, colours.shape[0] - at)
            if number not in self._open:
                self._open[number] = np.empty((height, layout.width, layout.channels), colours.dtype), 0
            band, filled = self._open.pop(number)
            band[row : row + count, :, : layout.colours] = colours[at : at + count]
            if alpha is not None:
                band[row : row + count, :, layout.colours] = alpha[at : at + count]
            if filled + count == height:
                self._sink(number, pack(band))
            else:
                self._open[number] = band, filled + count
            at += count

    def layout(self) -> SourceLayout:
        """Once all rows are taken."""
        assert self._layout is not None  # noqa: S101  # a header without rows was refused
        assert not self._open  # noqa: S101  # every row was taken once
        return replace(self._layout, constant_alpha=None) if self._varies else self._layout

    def _begin(self, colours: Pixels, alpha: Pixels | None) -> SourceLayout:
        rows = self._rows
        bits = colours.dtype.itemsize * 8
        found = colour.metadata_for(rows.metadata, colours.shape[2])
        if self._strip:
            self._convert = colour.srgb_conversion(found.icc, colours.shape[2], bits)
            found = replace(found, icc=None)
        self._layout = SourceLayout(
            width=self._width,
            height=self._height,
            channels=colours.shape[2] + (alpha is not None),
            bits=bits,
            band_rows=self._band_rows,
            source_format=rows.header.format,
            metadata=found,
            notices=rows.notices,
            constant_alpha=None if alpha is None else int(alpha[0, 0]),
        )
        return self._layout


def _text(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode("ascii")


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text, validate=True)
