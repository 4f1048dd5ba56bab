"""Rows of pixels as bytes that are kept for a while: differences along the row, deflated lightly.

Measured on an enlarged photograph (2048 x 2048): 0.37 of the raw size, 190 MB/s in, 100 MB/s out, of one thread.
Without the differences 0.60 at 300 MB/s: what is saved there is paid twice at the disk or the bucket.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from isal import isal_zlib

from app.imaging.picture import Pixels

_LEVEL = 1
_MARK = b"rows"
# A mark, rows, width, samples per pixel, bytes per sample, bytes of the deflated part.
_HEAD = struct.Struct("<4sIIBBI")

# Any: isal's type hints call its error an instance.
_DAMAGED: Any = (struct.error, isal_zlib.error, ValueError)


def pack(rows: Pixels) -> bytes:
    """Rows (n, width, samples), uint8 or uint16; packed pieces may be joined, and give their rows one after another."""
    differences = rows.copy()
    differences[:, 1:] -= rows[:, :-1]
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
            rows = np.frombuffer(raw, kind.newbyteorder("<")).reshape(height, width, samples).astype(kind, copy=False)
        except _DAMAGED as error:
            raise ValueError("these are no packed rows, or a part of them is missing") from error
        at += length
        # uint sums wrap round, as the differences did.
        yield np.cumsum(rows, axis=1, dtype=kind)
