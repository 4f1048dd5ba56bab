"""``chetko-pack``: photographs decoded once into one memory-mapped file of raw uint8 RGB.

A pack is: 24 bytes (magic, offset and length of the index as little-endian uint64), the pixels of all pictures one
after another (H x W x 3, uint8), and a JSON index ``[{name, height, width, offset, source}]`` behind them.
"""

from __future__ import annotations

import argparse
import json
import struct
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

MAGIC = b"CHPACK1\n"
PLACE = struct.Struct("<QQ")  # offset and length of the index
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"}


class PackError(Exception):
    """A pack that cannot be read, or pictures that cannot be packed; the message says which file."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture of a pack: where its pixels lie, and the file they came from."""

    name: str
    height: int
    width: int
    offset: int
    source: tuple[int, int]  # size in bytes and mtime in ns of the file, so that a second run skips it


class Pack:
    """A memory-mapped set of pictures; ``pack[i]`` is a read-only (H, W, 3) uint8 view, nothing is copied."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries = _read_index(path)
        self._data = np.memmap(path, np.uint8, mode="r")

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> npt.NDArray[np.uint8]:
        entry = self.entries[index]
        size = entry.height * entry.width * 3
        return self._data[entry.offset : entry.offset + size].reshape(entry.height, entry.width, 3)

    @property
    def names(self) -> list[str]:
        """File names relative to the folder that was packed, in pack order."""
        return [entry.name for entry in self.entries]


def _read_index(path: Path) -> list[Entry]:
    with path.open("rb") as file:
        head = file.read(len(MAGIC) + PLACE.size)
        if len(head) != len(MAGIC) + PLACE.size or not head.startswith(MAGIC):
            raise PackError(f"{path} is not a pack; make one with: chetko-pack PHOTOS -o {path}")
        offset, length = PLACE.unpack(head[len(MAGIC) :])
        file.seek(offset)
        try:
            rows = json.loads(file.read(length))
        except ValueError as error:
            raise PackError(f"{path} was not finished; delete it and pack again") from error
    return [Entry(**{**row, "source": tuple(row["source"])}) for row in rows]


def find_pictures(inputs: Iterable[Path]) -> Iterator[tuple[str, Path]]:
    """Yields (name, path) of every picture file in ``inputs``; folders are read recursively, in sorted order."""
    for given in inputs:
        if given.is_dir():
            for path in sorted(given.rglob("*")):
                if path.suffix.lower() in SUFFIXES and path.is_file():
                    yield f"{given.name}/{path.relative_to(given).as_posix()}", path
        elif given.is_file():
            yield given.name, given
        else:
            raise PackError(f"{given} does not exist")


def read_rgb(path: Path) -> npt.NDArray[np.uint8]:
    """The picture at ``path``, upright, as (H, W, 3) uint8."""
    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def write_pack(target: Path, pictures: Iterable[tuple[str, tuple[int, int], npt.NDArray[np.uint8]]]) -> int:
    """Appends (name, source, pixels) to the pack at ``target`` (made if missing); returns how many there are now.

    The index is written after the pixels and the header last, so an interrupted run leaves the old pack readable.
    """
    entries = _read_index(target) if target.exists() else []
    mode = "r+b" if target.exists() else "w+b"
    with target.open(mode) as file:
        if not entries:
            file.write(MAGIC + PLACE.pack(0, 0))
        file.seek(0, 2)
        for name, source, pixels in pictures:
            height, width, _ = pixels.shape
            entries.append(Entry(name, height, width, file.tell(), source))
            file.write(np.ascontiguousarray(pixels).data)
        offset = file.tell()
        length = file.write(json.dumps([asdict(entry) for entry in entries]).encode())
        file.flush()
        file.seek(len(MAGIC))
        file.write(PLACE.pack(offset, length))
    return len(entries)


def pack_folders(inputs: Iterable[Path], target: Path, *, smallest: int = 96) -> tuple[int, list[str]]:
    """Packs every readable picture of ``inputs`` that ``target`` does not hold yet.

    Returns (pictures in the pack, sentences about skipped files). A broken file is skipped, never fatal; so is one
    whose shorter side is under ``smallest`` pixels, which no training patch fits in.
    """
    known = {(entry.name, entry.source) for entry in _read_index(target)} if target.exists() else set()
    skipped: list[str] = []

    def fresh() -> Iterator[tuple[str, tuple[int, int], npt.NDArray[np.uint8]]]:
        for name, path in find_pictures(inputs):
            stat = path.stat()
            source = (stat.st_size, stat.st_mtime_ns)
            if (name, source) in known:
                continue
            try:
                pixels = read_rgb(path)
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
                skipped.append(f"{path}: {error}")
                continue
            if min(pixels.shape[:2]) < smallest:
                skipped.append(f"{path}: {pixels.shape[1]} x {pixels.shape[0]} is smaller than {smallest} px")
                continue
            yield name, source, pixels

    return write_pack(target, fresh()), skipped


def main(argv: list[str] | None = None) -> int:
    """The command ``chetko-pack``; returns the exit code."""
    parser = argparse.ArgumentParser(prog="chetko-pack", description=__doc__.splitlines()[0])
    parser.add_argument("inputs", nargs="+", type=Path, metavar="PHOTOS", help="picture files or folders")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="FILE", help="the pack to make or extend")
    options = parser.parse_args(argv)
    try:
        count, skipped = pack_folders(options.inputs, options.output)
    except PackError as error:
        print(f"chetko-pack: {error}", file=sys.stderr)
        return 2
    for sentence in skipped:
        print(f"skipped {sentence}", file=sys.stderr)
    if count == 0:
        print("chetko-pack: no readable picture was found", file=sys.stderr)
        return 1
    print(f"{options.output}: {count} pictures, {options.output.stat().st_size / 1e6:.0f} MB, {len(skipped)} skipped")
    return 0
