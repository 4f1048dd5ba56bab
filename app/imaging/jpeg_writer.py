"""A JPEG encoder that takes rows: strips encoded by Pillow, joined at restart markers."""

from __future__ import annotations

import io
import struct
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from app.imaging.exif import PREFIX
from app.imaging.picture import Layout, Metadata, Pixels
from app.imaging.row_counter import RowCounter, to_8_bit

# One restart interval is a row of 8- or 16-pixel blocks, and their markers count modulo 8. Strips of multiples of
# 128 rows therefore begin at marker 0 whatever the chroma subsampling, and no marker needs renumbering.
_STRIP_STEP = 128
# Pillow holds the interpreter lock while it encodes into memory; half a megapixel is about 5 ms.
_STRIP_PIXELS = 1 << 19
# An enlarged picture has hardly any chroma detail at its own pixel grid: its chroma came from a grid 2 or 4 times
# coarser. So 4:2:0 costs 1.3 dB at 50 dB, all of it in chroma, and saves a fifth of the bytes. Who asks for 95 or
# more wants the last bit, and gets 4:4:4.
_FULL_CHROMA_FROM = 95

# What fits one marker segment; longer EXIF and XMP would need extensions that few programs read.
_MAX_EXIF = 65_533 - len(PREFIX)
_MAX_XMP = 65_533 - len(b"http://ns.adobe.com/xap/1.0/\0")
_MAX_DENSITY = 65_535

_START_OF_FRAME, _START_OF_SCAN = 0xC0, 0xDA


class JpegWriter:
    """See RowEncoder. Grey or RGB; 16-bit rows are rounded to 8. Baseline, a restart marker per block row.

    The bytes equal those of one whole encode with ``options``. EXIF or XMP too long for a JPEG segment (64 KB) and
    a resolution above 65,535 dpi are left out.
    """

    def __init__(self, file: BinaryIO, layout: Layout, *, quality: int) -> None:
        if layout.channels not in (1, 3):
            raise ValueError("JPEG holds grey or RGB without alpha")
        self._file = file
        self._rows = RowCounter(layout)
        self._options = options(layout.metadata, quality)
        steps = max(1, _STRIP_PIXELS // layout.width // _STRIP_STEP)
        rows = min(steps * _STRIP_STEP, layout.height)
        self._strip = np.empty((rows, layout.width, layout.channels), np.uint8)
        self._filled = 0
        self._first = True

    def write(self, rows: Pixels) -> None:
        self._rows.take(rows)
        at = 0
        while at < rows.shape[0]:
            if self._filled == self._strip.shape[0]:
                self._flush()
            count = min(rows.shape[0] - at, self._strip.shape[0] - self._filled)
            self._strip[self._filled : self._filled + count] = to_8_bit(rows[at : at + count])
            self._filled += count
            at += count

    def finish(self) -> None:
        self._rows.check_complete()
        self._flush()
        self._file.write(b"\xff\xd9")

    def close(self) -> None:
        self._strip = self._strip[:0]

    def _flush(self) -> None:
        strip = self._strip[: self._filled]
        self._filled = 0
        encoded = io.BytesIO()
        Image.fromarray(strip[:, :, 0] if strip.shape[2] == 1 else strip).save(encoded, "JPEG", **self._options)
        data = encoded.getvalue()
        height_at, scan_at = _find_frame_and_scan(data)
        if self._first:
            self._first = False
            head = bytearray(data[:scan_at])
            struct.pack_into(">H", head, height_at, self._rows.layout.height)
            self._file.write(head)
        else:
            self._file.write(b"\xff\xd7")  # marker 7, which follows every eighth block row
        self._file.write(memoryview(data)[scan_at:-2])


def options(metadata: Metadata, quality: int) -> dict[str, Any]:
    """What Pillow is told: for every strip, and for a whole encode that gives the same bytes."""
    chosen: dict[str, Any] = {
        "quality": quality,
        "subsampling": "4:4:4" if quality >= _FULL_CHROMA_FROM else "4:2:0",
        "restart_marker_rows": 1,
    }
    if metadata.icc is not None:
        chosen["icc_profile"] = metadata.icc
    if metadata.exif is not None and len(metadata.exif) <= _MAX_EXIF:
        chosen["exif"] = PREFIX + metadata.exif
    if metadata.xmp is not None and len(metadata.xmp) <= _MAX_XMP:
        chosen["xmp"] = metadata.xmp
    if metadata.dpi is not None and max(metadata.dpi) <= _MAX_DENSITY:
        chosen["dpi"] = tuple(round(dpi) for dpi in metadata.dpi)
    return chosen


def _find_frame_and_scan(data: bytes) -> tuple[int, int]:
    """Where the height stands in the frame header, and where the entropy-coded data begins."""
    at, height_at = 2, 0
    while True:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == _START_OF_FRAME:
            height_at = at + 5
        at += 2 + length
        if marker == _START_OF_SCAN:
            return height_at, at
