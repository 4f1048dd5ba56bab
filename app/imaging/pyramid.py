"""A huge picture for a viewer: tiles of 512 x 512 px of every level in one file, read piece by piece.

Level 0 is the picture in full size, each next one has half the width and height (rounded up), and the last fits one
tile. The file: the tiles one behind the other as they became ready, a deflated index, and a tail of fixed length that
says where the index lies. It is written from its first byte to its last.
"""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from app.imaging.compression import OrderedPool
from app.imaging.picture import Layout, Pixels
from app.imaging.row_counter import RowCounter, to_8_bit

TILE = 512
"""Edge of a tile in pixels; those at the right and bottom are smaller."""

_MARK = b"chetko-pyramid-1"
_TAIL = struct.Struct("<16sQI")
_ENTRY = np.dtype([("at", "<u8"), ("bytes", "<u4")])
# On photographs at this quality nobody tells a tile from the picture; the picture itself is one click away.
_JPEG = {"format": "JPEG", "quality": 88}
_WEBP = {"format": "WEBP", "quality": 88, "method": 2}
# Every tile carries the profile; printers' profiles of a megabyte would be most of a tile.
_MOST_ICC = 8192


@dataclass(frozen=True, slots=True)
class Level:
    """One size of the picture."""

    width: int
    height: int
    """In pixels."""

    @property
    def columns(self) -> int:
        return -(-self.width // TILE)

    @property
    def rows(self) -> int:
        return -(-self.height // TILE)

    def size_of(self, column: int, row: int) -> tuple[int, int]:
        """Width and height of a tile."""
        return min(TILE, self.width - column * TILE), min(TILE, self.height - row * TILE)


def levels_of(width: int, height: int) -> list[Level]:
    """From the full size down to what fits one tile."""
    levels = [Level(width, height)]
    while max(levels[-1].width, levels[-1].height) > TILE:
        levels.append(Level(-(-levels[-1].width // 2), -(-levels[-1].height // 2)))
    return levels


class TileCoder:
    """Pixels to the bytes of a tile: JPEG, or WebP where there is alpha; with the profile that the pixels are in."""

    def __init__(self, channels: int, icc: bytes | None) -> None:
        """``channels``: 1 grey, 2 grey + alpha, 3 RGB, 4 RGB + alpha."""
        self.media_type = "image/webp" if channels in (2, 4) else "image/jpeg"
        self._options: dict[str, Any] = dict(_WEBP if channels in (2, 4) else _JPEG)
        if icc is not None and len(icc) <= _MOST_ICC:
            self._options["icc_profile"] = icc

    def __call__(self, pixels: Pixels) -> bytes:
        """Of (h, w, channels), uint8."""
        image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
        if image.mode == "LA":
            image = image.convert("RGBA")
        file = io.BytesIO()
        image.save(file, **self._options)
        return file.getvalue()


class PyramidWriter:
    """Takes a picture row by row, as an encoder does. Memory: twice 512 rows of the picture, and what threads work
    on.
    """

    def __init__(self, file: BinaryIO, layout: Layout, *, threads: int = 1) -> None:
        """``file`` is written at its position and needs no seeking. ``threads`` encode tiles beside the caller."""
        self._file = file
        self._at = 0
        self._rows = RowCounter(layout)
        self._coder = TileCoder(layout.channels, layout.metadata.icc)
        self._levels = levels_of(layout.width, layout.height)
        self._found = [np.zeros((level.rows, level.columns), _ENTRY) for level in self._levels]
        self._bands = [
            np.empty((min(TILE, level.height), level.width, layout.channels), np.uint8) for level in self._levels
        ]
        self._filled = [0] * len(self._levels)
        self._tile_rows = [0] * len(self._levels)
        self._pool: OrderedPool[tuple[int, int, int, bytes]] = OrderedPool(threads, self._deliver, "pyramid")

    def write(self, rows: Pixels) -> None:
        """The next rows, (n, width, channels); 16-bit ones are rounded to 8."""
        self._rows.take(rows)
        self._take(0, to_8_bit(rows))

    def finish(self) -> None:
        """Writes what is left. Raises ValueError if rows are missing. The file is not closed."""
        self._rows.check_complete()
        self._pool.drain()
        head = {"width": self._levels[0].width, "height": self._levels[0].height, "media_type": self._coder.media_type}
        table = b"".join(found.tobytes() for found in self._found)
        index = zlib.compress(json.dumps(head).encode() + b"\n" + table)
        self._file.write(index)
        self._file.write(_TAIL.pack(_MARK, self._at, len(index)))

    def close(self) -> None:
        """Releases threads and memory; safe after an error and when called twice."""
        self._pool.close()
        self._bands = []

    def _take(self, level: int, rows: Pixels) -> None:
        at = 0
        while at < rows.shape[0]:
            band, filled = self._bands[level], self._filled[level]
            height = min(TILE, self._levels[level].height - self._tile_rows[level] * TILE)
            count = min(height - filled, rows.shape[0] - at)
            band[filled : filled + count] = rows[at : at + count]
            self._filled[level] += count
            at += count
            if self._filled[level] == height:
                self._flush(level, band[:height])

    def _flush(self, level: int, band: Pixels) -> None:
        row = self._tile_rows[level]
        for column in range(self._levels[level].columns):
            tile = band[:, column * TILE : (column + 1) * TILE].copy()
            self._pool.submit(partial(self._encode, level, row, column, tile))
        self._filled[level] = 0
        self._tile_rows[level] += 1
        if level + 1 < len(self._levels):
            self._take(level + 1, _halved(band))

    def _encode(self, level: int, row: int, column: int, tile: Pixels) -> tuple[int, int, int, bytes]:
        return level, row, column, self._coder(tile)

    def _deliver(self, encoded: tuple[int, int, int, bytes]) -> None:
        level, row, column, data = encoded
        self._file.write(data)
        self._found[level][row, column] = self._at, len(data)
        self._at += len(data)


class PyramidReader:
    """The tiles of a pyramid that lies somewhere else. Safe to use from several threads."""

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        """``read`` gives bytes by their start and number; ``size`` of them in all.

        Raises ValueError for a file that ``PyramidWriter`` did not write or that was cut off.
        """
        self._read = read
        try:
            mark, at, length = _TAIL.unpack(read(size - _TAIL.size, _TAIL.size))
            head, _, table = zlib.decompress(read(at, length)).partition(b"\n")
            described = json.loads(head)
            self.media_type = str(described["media_type"])
            self.levels = levels_of(int(described["width"]), int(described["height"]))
            entries = np.frombuffer(table, _ENTRY)
        except (struct.error, zlib.error, ValueError, KeyError) as error:
            raise ValueError("this is no pyramid, or a part of it is missing") from error
        counts = [level.rows * level.columns for level in self.levels]
        if mark != _MARK or len(entries) != sum(counts):
            raise ValueError("this is no pyramid, or one of another version")
        ends = np.cumsum(counts)
        self._found = [
            entries[end - count : end].reshape(level.rows, level.columns)
            for level, count, end in zip(self.levels, counts, ends, strict=True)
        ]

    def tile(self, level: int, column: int, row: int) -> bytes:
        """An encoded tile of ``media_type``. Raises IndexError for one that there is not."""
        if not 0 <= level < len(self.levels):
            raise IndexError(level)
        size = self.levels[level]
        if not (0 <= column < size.columns and 0 <= row < size.rows):
            raise IndexError((column, row))
        entry = self._found[level][row, column]
        return self._read(int(entry["at"]), int(entry["bytes"]))

    def region(self, level: int, left: int, top: int, right: int, bottom: int) -> Pixels:
        """Pixels (bottom - top, right - left, samples) of a level, decoded; the region lies inside and is not empty."""
        parts = [
            np.concatenate(
                [self._decoded(level, column, row) for column in range(left // TILE, (right - 1) // TILE + 1)], 1
            )
            for row in range(top // TILE, (bottom - 1) // TILE + 1)
        ]
        left_at, top_at = left // TILE * TILE, top // TILE * TILE
        return np.concatenate(parts)[top - top_at : bottom - top_at, left - left_at : right - left_at]

    def _decoded(self, level: int, column: int, row: int) -> Pixels:
        image = Image.open(io.BytesIO(self.tile(level, column, row)))
        # WebP leaves alpha out of a tile that is opaque.
        pixels = np.asarray(image.convert("RGBA") if image.format == "WEBP" else image)
        return pixels[:, :, np.newaxis] if pixels.ndim == 2 else pixels


def _halved(band: Pixels) -> Pixels:
    """Means of 2 x 2 pixels, rounded; a last row or column without a partner stands for itself."""
    if band.shape[2] in (2, 4):
        # Pillow would weigh colours by alpha and round twice: plane by plane it cannot tell.
        return np.concatenate([_halved(band[:, :, plane : plane + 1]) for plane in range(band.shape[2])], 2)
    halved = np.asarray(Image.fromarray(band[:, :, 0] if band.shape[2] == 1 else band).reduce(2))
    return halved[:, :, np.newaxis] if halved.ndim == 2 else halved
