"""WebP and AVIF, whose encoders need the whole picture at once."""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from app.imaging.exif import of_resolution
from app.imaging.picture import Layout, Pixels
from app.imaging.row_counter import RowCounter, to_8_bit

# WebP effort 0..6 and AVIF speed 0..10: chosen so that an encode stays below the time the network takes.
_WEBP_METHOD = 2
_AVIF_SPEED = 8


class WholeWriter:
    """See RowEncoder. Collects 8-bit rows (16-bit ones are rounded) and encodes at the end.

    ``formats.check_holds`` bounds the size, and with it the memory. A resolution has no place in these formats
    outside EXIF: the source's carries it, or a block made for it where the source had none.
    """

    def __init__(self, file: BinaryIO, layout: Layout, format: str, *, quality: int) -> None:  # noqa: A002
        self._file = file
        self._format = format
        self._quality = quality
        self._rows = RowCounter(layout)
        # Both formats know RGB and RGBA only through Pillow; a grey picture becomes RGB here.
        alpha = layout.channels in (2, 4)
        self._buffer: Pixels | None = np.empty((layout.height, layout.width, 4 if alpha else 3), np.uint8)

    def write(self, rows: Pixels) -> None:
        start = self._rows.done
        self._rows.take(rows)
        assert self._buffer is not None  # noqa: S101  # not closed
        rows = to_8_bit(rows)
        band = self._buffer[start : self._rows.done]
        colours = 1 if rows.shape[2] <= 2 else 3
        band[:, :, :3] = rows[:, :, :colours]
        if band.shape[2] == 4:
            band[:, :, 3] = rows[:, :, -1]

    def finish(self) -> None:
        self._rows.check_complete()
        assert self._buffer is not None  # noqa: S101  # not closed
        image = Image.fromarray(self._buffer)
        self._buffer = None
        metadata = self._rows.layout.metadata
        options: dict[str, Any] = {"quality": self._quality}
        if self._format == "webp":
            options |= {"method": _WEBP_METHOD}
        else:
            options |= {"speed": _AVIF_SPEED}
        exif = metadata.exif
        if exif is None and metadata.dpi is not None:
            exif = of_resolution(metadata.dpi)
        for key, value in (("icc_profile", metadata.icc), ("exif", exif), ("xmp", metadata.xmp)):
            if value is not None:
                options[key] = value
        image.save(self._file, self._format.upper(), **options)

    def close(self) -> None:
        self._buffer = None
