"""A TIFF encoder that takes rows: tiles deflated in parallel, laid out in the file by tifffile."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, BinaryIO

import numpy as np
import tifffile
from isal import isal_zlib

from app.imaging import tiff_exif
from app.imaging.compression import OrderedPool
from app.imaging.picture import Layout, Metadata, Pixels
from app.imaging.row_counter import RowCounter

_TILE = 256
# igzip after horizontal differencing: 2048 x 2048 RGB in 0.03 s of one thread, a quarter of the raw size, so
# uncompressed tiles would save nothing once they have to reach a disk.
_LEVEL = 2
# Classic TIFF has 32-bit offsets. Deflate may grow noise by a little, and the tables need room.
_CLASSIC_BYTES = (1 << 32) - (1 << 26)
# tifffile writes no tags that point to directories. It is given the number before theirs, which nobody uses and
# which sorts into the same place, and the name is put right afterwards.
_PLACEHOLDER = -1
# Tiles waiting for tifffile; it only copies them to the file.
_WAITING_TILES = 32


class TiffWriter:
    """See RowEncoder. 8 or 16 bits, deflate, 256 x 256 tiles, BigTIFF where the file could pass 4 GB.

    The file must be seekable and readable, and is written from its start. Alpha is marked as straight. EXIF and
    GPS become real TIFF directories.
    """

    def __init__(self, file: BinaryIO, layout: Layout, *, threads: int) -> None:
        self._rows = RowCounter(layout)
        self._band = self._new_band()
        self._filled = 0
        self._tiles: queue.Queue[bytes | None] = queue.Queue(_WAITING_TILES)
        self._failure: BaseException | None = None
        self._pool: OrderedPool[bytes] = OrderedPool(threads, self._deliver, "tiff")
        self._writer = threading.Thread(target=self._run, args=(file,), name="tiff-file", daemon=True)
        self._writer.start()

    def write(self, rows: Pixels) -> None:
        self._rows.take(rows)
        at = 0
        while at < rows.shape[0]:
            count = min(rows.shape[0] - at, _TILE - self._filled)
            self._band[self._filled : self._filled + count] = rows[at : at + count]
            self._filled += count
            at += count
            if self._filled == _TILE:
                self._submit()

    def finish(self) -> None:
        self._rows.check_complete()
        if self._filled:
            self._submit()
        self._pool.drain()
        self._writer.join()
        self._raise_failure()

    def close(self) -> None:
        self._pool.close()
        if self._writer.is_alive():
            # Unfinished: whoever waits for tiles is told that none will come, whoever cannot hand one on is freed.
            self._failure = self._failure or _UnfinishedError()
            self._make_room()
            self._tiles.put(None)
            self._writer.join()

    def _new_band(self) -> Pixels:
        layout = self._rows.layout
        return np.empty((_TILE, layout.width, layout.channels), self._rows.dtype)

    def _submit(self) -> None:
        band = self._band[: self._filled]
        self._band = self._new_band()
        self._filled = 0
        for left in range(0, band.shape[1], _TILE):
            self._pool.submit(partial(_compress, band, left))
        self._raise_failure()

    def _deliver(self, tile: bytes) -> None:
        while True:
            self._raise_failure()
            try:
                # The writer may die of a full disk; then nobody takes tiles any more.
                self._tiles.put(tile, timeout=0.2)
            except queue.Full:
                continue
            return

    def _make_room(self) -> None:
        while not self._tiles.empty():
            try:
                self._tiles.get_nowait()
            except queue.Empty:
                return

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _tile_stream(self) -> Iterator[bytes]:
        while (tile := self._tiles.get()) is not None:
            yield tile
        raise _UnfinishedError

    def _run(self, file: BinaryIO) -> None:
        try:
            _write_file(file, self._rows.layout, self._tile_stream())
        except BaseException as failure:  # handed to the thread that calls write or finish
            self._failure = failure


class _UnfinishedError(Exception):
    """The encoder was closed before its last row."""


def _write_file(file: BinaryIO, layout: Layout, tiles: Iterator[bytes]) -> None:
    raw_bytes = layout.width * layout.height * layout.channels * layout.bits // 8
    big = raw_bytes > _CLASSIC_BYTES
    # Named, since tifffile takes the name of a temporary file, None or a descriptor, for a path.
    named = tifffile.FileHandle(file, name="picture.tif")
    with tifffile.TiffWriter(named, bigtiff=big, byteorder="<") as writer:
        # Directories placed before the pixels: their offsets are known now and fit 32 bits in any file.
        file.seek(0, 2)
        directories, offsets = tiff_exif.directories(layout.metadata.exif, at=file.tell(), big=big)
        file.write(directories)
        shape: tuple[int, ...] = (layout.height, layout.width)
        if layout.channels > 1:
            shape = (*shape, layout.channels)
        placeholders = {tag + _PLACEHOLDER: offset for tag, offset in offsets.items()}
        writer.write(
            tiles,
            shape=shape,
            dtype=np.uint16 if layout.bits == 16 else np.uint8,
            tile=(_TILE, _TILE),
            photometric="rgb" if layout.channels >= 3 else "minisblack",
            planarconfig="contig" if layout.channels > 1 else None,
            extrasamples=["unassalpha"] if layout.channels in (2, 4) else None,
            compression="adobe_deflate",
            predictor="horizontal",
            metadata=None,
            software=False,
            **_tags(layout.metadata, placeholders),
        )
    tiff_exif.rename_tags(file, {tag + _PLACEHOLDER: tag for tag in offsets}, big=big)


def _tags(metadata: Metadata, offsets: Mapping[int, int]) -> dict[str, Any]:
    extra: list[tuple[int, int, int, Any, bool]] = [
        (tag, tifffile.DATATYPE.LONG, 1, offset, True) for tag, offset in offsets.items()
    ]
    extra += [(tag, tifffile.DATATYPE.ASCII, 0, text, True) for tag, text in tiff_exif.texts(metadata.exif).items()]
    if metadata.xmp is not None:
        extra.append((700, tifffile.DATATYPE.BYTE, len(metadata.xmp), metadata.xmp, True))
    chosen: dict[str, Any] = {"extratags": extra}
    if metadata.icc is not None:
        chosen["iccprofile"] = metadata.icc
    if metadata.dpi is not None:
        chosen |= {"resolution": metadata.dpi, "resolutionunit": "inch"}
    return chosen


def _compress(band: Pixels, left: int) -> bytes:
    """One tile, padded to full size with zeros, as tifffile's tags announce it: differences along rows, deflate."""
    part = band[:, left : left + _TILE]
    tile = np.zeros((_TILE, _TILE, band.shape[2]), band.dtype)
    tile[: part.shape[0], : part.shape[1]] = part
    tile[:, 1:] -= tile[:, :-1].copy()
    little_endian = tile.astype(tile.dtype.newbyteorder("<"), copy=False)
    return bytes(isal_zlib.compress(little_endian, _LEVEL))
