"""Rows of pixels as bytes that are kept for a while: differences to the row above, deflated lightly.

Measured on a photograph enlarged to 2048 x 2048, one thread: 0.20 of the raw size, 520 MB/s in, 415 MB/s out. With
differences along the row 0.25 at 445 and 220 MB/s, and without any 0.42: what is saved here is paid twice at the
disk or the bucket.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from isal import isal_zlib

from app.imaging.picture import Pixels

_LEVEL = 1
_MARK = b"rowv"
# A mark, rows, width, samples per pixel, bytes per sample, bytes of the deflated part.
_HEAD = struct.Struct("<4sIIBBI")

# Any: isal's type hints call its error an instance.
_DAMAGED: Any = (struct.error, isal_zlib.error, ValueError)


def pack(rows: Pixels) -> bytes:
    """Rows (n, width, samples), uint8 or uint16; packed pieces may be joined, and give their rows one after another."""
    differences = rows.copy()
    differences[1:] -= rows[:-1]
    little_endian = differences.astype(rows.dtype.newbyteorder("<"), copy=False)
    body = isal_zlib.compress(little_endian.reshape(-1).view(np.uint8).data, _LEVEL)
    return _HEAD.pack(_MARK, rows.shape[0], rows.shape[1], rows.shape[2], rows.dtype.itemsize, len(body)) + body


def unpack(packed: bytes | memoryview) -> Iterator[Pixels]:
    """The pieces that were packed, (n, width, samples) each, in their order and one at a time in memory.

    Raises ValueError for bytes that ``pack`` did not write or that were cut off.
    """
    at, data = 0, memoryview(packed)
    while at < len(data):
        try:
            mark, height, width, samples, item, length = _HEAD.unpack_from(data, at)
            at += _HEAD.size
            if mark != _MARK or at + length > len(data):
                raise ValueError(mark)  # told below with the rest
            raw = isal_zlib.decompress(data[at : at + length], bufsize=max(1, height * width * samples * item))
            kind = np.dtype(np.uint16 if item == 2 else np.uint8)
            rows = np.frombuffer(raw, kind.newbyteorder("<")).astype(kind).reshape(height, width, samples)
        except _DAMAGED as error:
            raise ValueError("these are no packed rows, or a part of them is missing") from error
        at += length
        # uint sums wrap round, as the differences did. Row by row: cumsum along the first axis takes ten times as long.
        for at_row in range(1, height):
            np.add(rows[at_row - 1], rows[at_row], out=rows[at_row])
        yield rows
