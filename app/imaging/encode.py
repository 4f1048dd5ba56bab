"""Rows of pixels to the bytes of a picture file."""

from __future__ import annotations

from typing import BinaryIO, Protocol

from app.imaging.formats import FORMATS
from app.imaging.jpeg_writer import JpegWriter
from app.imaging.picture import Layout, Pixels
from app.imaging.png_writer import PngWriter
from app.imaging.whole_writer import WholeWriter


class RowEncoder(Protocol):
    """Takes a picture row by row. The same rows give the same bytes, however grouped and with any ``threads``."""

    def write(self, rows: Pixels) -> None:
        """The next rows, top to bottom: (n >= 1, width, channels), uint8 or uint16 as the layout's bits.

        The array may be reused by the caller once this returns. Raises ValueError for another shape or type and
        for more rows than the picture has.
        """

    def finish(self) -> None:
        """Writes what is left. Raises ValueError if rows are missing. The file is not closed."""

    def close(self) -> None:
        """Releases threads and memory; safe after an error and when called twice. What was written stays."""


def open_encoder(
    format: str,  # noqa: A002  # the word of the interface
    file: BinaryIO,
    layout: Layout,
    *,
    quality: int | None = None,
    threads: int = 1,
) -> RowEncoder:
    """An encoder for a name in FORMATS, writing at the file's position (TIFF: from its start, read back too).

    ``quality`` is 1..100, for JPEG, WebP and AVIF; None is the format's default. ``threads`` compress PNG and TIFF
    beside the caller. The picture must fit: ask ``check_holds`` first.
    """
    if quality is None:
        quality = FORMATS[format].default_quality
    if quality is not None and not 1 <= quality <= 100:
        raise ValueError(f"quality is 1 to 100, not {quality}")
    if format == "png":
        return PngWriter(file, layout, threads=threads)
    if format == "tiff":
        # tifffile takes as long to import as all the rest of imaging, and few ask for TIFF.
        from app.imaging.tiff_writer import TiffWriter  # noqa: PLC0415

        return TiffWriter(file, layout, threads=threads)
    assert quality is not None  # noqa: S101  # every lossy format has a default
    if format == "jpeg":
        return JpegWriter(file, layout, quality=quality)
    return WholeWriter(file, layout, format, quality=quality)
