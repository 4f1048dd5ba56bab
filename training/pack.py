"""``chetko-pack``: photographs decoded once into one memory-mapped file of raw uint8 RGB.

A pack is: 24 bytes (magic, offset and length of the index as little-endian uint64), the pixels of all pictures one
after another (H x W x 3, uint8), and a JSON index ``[{name, height, width, offset, source}]`` behind them. It only ever
grows: what is added goes behind the index that is in force, then a new index, then the 16 bytes that point to it. So a
reader, or whoever comes after a kill, finds the old index or the new one, and the pixels of either in place.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import struct
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np

from training import shading_pages, text_pages
from training.ahead import ahead, usable_cpus
from training.near_duplicates import NearDuplicates
from training.photo_files import Found, PhotoError, Pixels, find_pictures, header_size, read_rgb
from training.text_pages import FONT_FOLDER, FontsError, training_fonts

try:
    import fcntl
except ImportError:  # Windows: there, do not let two runs pack into one file at the same time
    fcntl = None  # type: ignore[assignment]

MAGIC = b"CHPACK1\n"
PLACE = struct.Struct("<QQ")  # offset and length of the index
HEAD = len(MAGIC) + PLACE.size
SMALLEST = 32
"""Pixels: a picture whose shorter side is under this is not packed, since no useful training patch fits in."""
COMMIT_BYTES = 1 << 30  # of pixels; a kill -9 costs at most the work since the last index
SAY_SECONDS = 5.0

Source = tuple[int, int]
"""Size in bytes and mtime in ns of the file a picture came from, so that a second run skips it."""


class PackError(PhotoError):
    """A pack that cannot be read or written; the message says which file."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture of a pack: where its pixels lie, and the file they came from."""

    name: str
    height: int
    width: int
    offset: int
    source: Source


class Pack:
    """A memory-mapped set of pictures; ``pack[i]`` is a read-only (H, W, 3) uint8 view, nothing is copied.

    ``spare`` is a folder for what is derived from the pack (its LR) where the pack's own folder cannot be written to.
    """

    def __init__(self, path: Path, *, spare: Path | None = None) -> None:
        self.path = path
        self.spare = spare
        self.entries = _read_index(path)
        self._data = np.asarray(np.memmap(path, np.uint8, mode="r"))

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Pixels:
        entry = self.entries[index]
        size = entry.height * entry.width * 3
        return self._data[entry.offset : entry.offset + size].reshape(entry.height, entry.width, 3)

    def expect(self, upcoming: Iterable[int]) -> None:
        """Nothing to prepare: the system reads pages ahead by itself."""

    @property
    def names(self) -> list[str]:
        """File names relative to the folder that was packed, in pack order."""
        return [entry.name for entry in self.entries]

    def select(self, wanted: Iterable[tuple[str, Source]]) -> Pack:
        """The pictures of these (name, source), in this order; those that the pack does not hold are left out."""
        held = {(entry.name, entry.source): entry for entry in self.entries}
        selected = copy.copy(self)
        selected.entries = [held[key] for key in wanted if key in held]
        return selected


def _read_index(path: Path) -> list[Entry]:
    with path.open("rb") as file:
        head = file.read(HEAD)
        if len(head) != HEAD or not head.startswith(MAGIC):
            raise PackError(f"{path} is not a pack; make one with: chetko-pack PHOTOS -o {path}")
        offset, length = PLACE.unpack(head[len(MAGIC) :])
        file.seek(offset)
        try:
            rows = json.loads(file.read(length))
        except ValueError as error:
            raise PackError(f"{path} was not finished; run the same chetko-pack again") from error
    return [Entry(**{**row, "source": tuple(row["source"])}) for row in rows]


class PackWriter:
    """Adds pictures to the pack at ``target`` (made if missing) while holding its lock.

    What was added counts when the context ends, also by an exception or Ctrl-C; ``entries`` may be changed until then,
    which is how a picture is replaced or removed. Another process that wants to write to the same pack waits.
    """

    def __init__(self, target: Path, *, say: Callable[[str], None] = print) -> None:
        self.target = target
        self.entries: list[Entry] = []
        self._say = say

    def __enter__(self) -> PackWriter:
        try:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.target, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        except OSError as error:
            raise PackError(f"{self.target} cannot be written: {error.strerror}") from error
        self._file = os.fdopen(descriptor, "r+b")
        try:
            self._lock()
            self._begin()
        except BaseException:
            self._file.close()
            raise
        return self

    def _lock(self) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._say(f"another run is packing into {self.target}: waiting for it")
            fcntl.flock(self._file, fcntl.LOCK_EX)

    def _begin(self) -> None:
        head = self._file.read(HEAD)
        if head in (b"", MAGIC + PLACE.pack(0, 0)):  # new, or killed before its first index
            self._file.seek(0)
            self._file.write(MAGIC + PLACE.pack(0, 0))
            end = HEAD
        else:
            self.entries = _read_index(self.target)
            end = sum(PLACE.unpack(head[len(MAGIC) :]))
        self._file.truncate(end)  # pixels that a killed run left without an index
        self._file.seek(end)
        self._indexed = end
        self._in_force = list(self.entries) if end > HEAD else None

    def add(self, name: str, source: Source, pixels: Pixels) -> None:
        """Appends ``pixels`` (H, W, 3). Raises ``PackError`` when the disk is full."""
        height, width, _ = pixels.shape
        entry = Entry(name, height, width, self._file.tell(), source)
        _write(self._file, np.ascontiguousarray(pixels).data, self.target)
        self.entries.append(entry)
        if self._file.tell() - self._indexed > COMMIT_BYTES:
            self._commit()

    def _commit(self) -> None:
        if self.entries == self._in_force:
            return
        offset = self._file.tell()
        length = _write(self._file, json.dumps([asdict(entry) for entry in self.entries]).encode(), self.target)
        self._file.flush()
        os.fsync(self._file.fileno())  # the pointer must never reach the disk before what it points to
        self._file.seek(len(MAGIC))
        self._file.write(PLACE.pack(offset, length))
        self._file.flush()
        self._file.seek(offset + length)
        self._indexed = offset + length
        self._in_force = list(self.entries)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        full = isinstance(error, PackError)  # a disk that takes no pixels takes no index either
        try:
            if not full:
                self._commit()
        finally:
            with suppress(OSError if full else ()):  # closing flushes, and would hide the first error
                self._file.close()  # gives the lock up


def _write(file: BinaryIO, data: bytes | memoryview, target: Path) -> int:
    try:
        return file.write(data)
    except OSError as error:
        raise PackError(f"{target} cannot be written: {error.strerror}") from error


def write_pack(
    target: Path, pictures: Iterable[tuple[str, Source, Pixels]], *, say: Callable[[str], None] = print
) -> int:
    """Appends (name, source, pixels) to the pack at ``target`` (made if missing); returns how many there are now."""
    with PackWriter(target, say=say) as pack:
        for name, source, pixels in pictures:
            pack.add(name, source, pixels)
        return len(pack.entries)


def source_of(path: Path) -> Source:
    """What tells one state of a file from the next."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


class Progress:
    """A line through ``say`` every few seconds: so many of ``total`` photographs ``verb`` ("packed"), time left."""

    def __init__(self, verb: str, total: int, say: Callable[[str], None]) -> None:
        self._verb, self._total, self._say = verb, total, say
        self._begun = self._last = time.monotonic()

    def tell(self, done: int) -> None:
        """Reports that ``done`` are finished, if the last line is long enough ago."""
        now = time.monotonic()
        if now - self._last >= SAY_SECONDS:
            self._last = now
            left = (now - self._begun) / done * (self._total - done)
            self._say(f"{self._verb} {done:,} of {self._total:,} photographs, about {left:.0f} s left")


def pack_pictures(
    pictures: list[Found], target: Path, *, unlike: NearDuplicates | None = None, say: Callable[[str], None] = print
) -> tuple[int, list[str]]:
    """Packs every readable one of ``pictures`` that ``target`` does not hold yet; what it holds else is kept.

    A picture whose file has changed is replaced. A broken file is skipped, never fatal; so is a picture under
    ``SMALLEST`` pixels, and one that ``unlike`` knows as a near-duplicate, which is also removed where it was packed
    before. Pictures are decoded in as many threads as there are CPUs; their order is that of ``pictures``.

    Returns (pictures in the pack, sentences about skipped files).
    """
    skipped: list[str] = []

    def decoded(job: tuple[str, Path, Source]) -> tuple[str, Source, Pixels] | str:
        name, path, source = job
        try:
            height, width = header_size(path)
            if min(height, width) < SMALLEST:
                return f"{path}: {width} x {height} is smaller than {SMALLEST} px"
            pixels = read_rgb(path)
        except PhotoError as error:
            return str(error)
        twin = unlike.like(pixels) if unlike else None
        return f"{path}: near-duplicate of {twin}" if twin else (name, source, pixels)

    with PackWriter(target, say=say) as pack:
        if unlike and pack.entries:
            skipped += _remove_alike(pack, unlike)
        held = {(entry.name, entry.source) for entry in pack.entries}
        jobs = []
        for name, path in pictures:
            try:
                source = source_of(path)
            except OSError as error:  # a link to nowhere
                skipped.append(f"{path}: {error.strerror}")
                continue
            if (name, source) not in held:
                jobs.append((name, path, source))
        progress = Progress("packed", len(jobs), say)
        for done, result in enumerate(ahead(decoded, jobs, depth=2 * usable_cpus()), 1):
            if isinstance(result, str):
                skipped.append(result)
            else:
                pack.add(*result)
            progress.tell(done)
        latest = {entry.name: entry for entry in pack.entries}
        pack.entries = [entry for entry in pack.entries if latest[entry.name] is entry]
        return len(pack.entries), skipped


def _remove_alike(pack: PackWriter, unlike: NearDuplicates) -> list[str]:
    held = Pack(pack.target)
    twins = list(ahead(lambda index: unlike.like(held[index]), range(len(held)), depth=2 * usable_cpus()))
    pack.entries = [entry for entry, twin in zip(pack.entries, twins, strict=True) if not twin]
    return [f"{name}: near-duplicate of {twin}" for name, twin in zip(held.names, twins, strict=True) if twin]


def pack_pages(target: Path, kind: str, count: int, draw: Callable[[int], Pixels]) -> int:
    """Adds the pages of this kind, drawn from seeds 1 to ``count``, that ``target`` does not hold yet; returns how many
    pictures it holds now."""
    with PackWriter(target) as pack:
        held = {entry.name for entry in pack.entries}
        for seed in range(1, count + 1):
            name = f"{kind}-page-{seed:04}"
            if name not in held:
                pack.add(name, (seed, 0), draw(seed))
        return len(pack.entries)


def main(argv: list[str] | None = None) -> int:
    """The command ``chetko-pack``; returns the exit code."""
    parser = argparse.ArgumentParser(prog="chetko-pack", description=__doc__.splitlines()[0])
    parser.add_argument("inputs", nargs="*", type=Path, metavar="PHOTOS", help="picture files or folders")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="FILE", help="the pack to make or extend")
    parser.add_argument(
        "--exclude-like", nargs="+", type=Path, default=[], metavar="DIR", action="extend",
        help="leave out near-duplicates of the pictures in DIR (test sets): resized, recompressed, mirrored or turned",
    )  # fmt: skip
    parser.add_argument(
        "--text-pages", type=int, default=0, metavar="N",
        help="add N pages of text, 640 x 480, drawn in this machine's fonts (Latin and Cyrillic, many sizes)",
    )  # fmt: skip
    parser.add_argument(
        "--shading-pages", type=int, default=0, metavar="N",
        help="add N pages of smooth shading, 640 x 480 and 1280 x 960, for models that take JPEG's blocks away",
    )  # fmt: skip
    parser.add_argument("--fonts", type=Path, default=FONT_FOLDER, metavar="DIR", help="where fonts are (%(default)s)")
    options = parser.parse_args(argv)
    if not options.inputs and not options.text_pages and not options.shading_pages:
        parser.error("say what to pack: PHOTOS, --text-pages N, --shading-pages N, or several of them")
    try:
        unlike = NearDuplicates(options.exclude_like) if options.exclude_like else None
        count, skipped = pack_pictures(find_pictures(options.inputs), options.output, unlike=unlike)
        if options.text_pages:
            fonts = training_fonts(options.fonts)
            count = pack_pages(options.output, "text", options.text_pages, lambda seed: text_pages.page(seed, fonts))
        if options.shading_pages:
            count = pack_pages(options.output, "shading", options.shading_pages, shading_pages.page)
    except (FontsError, PhotoError) as error:
        print(f"chetko-pack: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "\nchetko-pack: stopped; what was packed so far is kept, the same command goes on from there",
            file=sys.stderr,
        )
        return 130
    for sentence in skipped:
        print(f"skipped {sentence}", file=sys.stderr)
    if count == 0:
        print("chetko-pack: no readable picture was found", file=sys.stderr)
        return 1
    print(f"{options.output}: {count} pictures, {options.output.stat().st_size / 1e6:.0f} MB, {len(skipped)} skipped")
    return 0
