"""The photographs a run trains on, however they were given: one pack, or files and folders."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from training.pack import Pack, PackError, pack_pictures, source_of
from training.photo_files import Found, PhotoError, PhotoFiles, Pixels, find_pictures, header_size

PACK_BYTES = 2 << 30
"""Decoded size up to which pictures are packed unasked: 700 megapixels, a minute or less of work before the first
step. MS COCO (120,000 photographs) would be 108 GB."""
SAMPLED = 256  # headers read to estimate the decoded size
NAMED = 10  # skipped files named before the rest is only counted


class Photos(Protocol):
    """Pictures by number; ``photos[i]`` is (H, W, 3) uint8 and raises ``PhotoError`` where it cannot be read."""

    @property
    def names(self) -> list[str]:
        """What to call each picture in a report."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Pixels: ...

    def expect(self, upcoming: Iterable[int]) -> None:
        """A hint: these pictures will be asked for next."""


def open_photos(inputs: list[Path], cache: Path, *, say: Callable[[str], None] = print) -> Photos:
    """The photographs of ``inputs``: one ``.pack`` made by ``chetko-pack``, or picture files and folders.

    Files of up to ``PACK_BYTES`` decoded are packed into ``cache`` (a second run adds only what is new, two runs at
    once take turns); more, or more than the disk has room for, are read while training. What is returned holds the
    pictures of ``inputs`` alone, in the order of ``find_pictures``, whatever else ``cache`` holds. Skipped files,
    progress and the choice are told through ``say``. Raises ``PhotoError`` when there is nothing to train on.
    """
    if any(given.suffix == ".pack" for given in inputs):
        if len(inputs) > 1:
            raise PackError("a pack is given alone; add the other photographs to it with: chetko-pack PHOTOS -o PACK")
        if not inputs[0].is_file():
            raise PackError(f"{inputs[0]} does not exist")
        return _not_empty(Pack(inputs[0], spare=cache.parent), inputs)
    pictures = find_pictures(inputs)
    size = decoded_bytes(pictures)
    if size > PACK_BYTES:
        say(
            f"{len(pictures):,} photographs, about {size / 1e9:.0f} GB decoded: read from their files while training; "
            f"chetko-pack makes a pack of them, which is faster"
        )
        return PhotoFiles(pictures, say=say)
    cache.parent.mkdir(parents=True, exist_ok=True)
    held = cache.stat().st_size if cache.exists() else 0
    if 1.3 * size > held + shutil.disk_usage(cache.parent).free:  # 1.3: LR at x2 is a quarter more
        say(f"the disk of {cache} has no room for {size / 1e9:.1f} GB: photographs are read while training")
        return PhotoFiles(pictures, say=say)
    _, skipped = pack_pictures(pictures, cache, say=say)
    for sentence in skipped[:NAMED]:
        say(f"skipped {sentence}")
    if len(skipped) > NAMED:
        say(f"skipped {len(skipped) - NAMED:,} more")
    wanted = [(name, source_of(path)) for name, path in pictures if path.exists()]
    return _not_empty(Pack(cache).select(wanted), inputs)


def _not_empty(photos: Pack, inputs: list[Path]) -> Pack:
    if not len(photos):
        raise PackError("no readable picture was found in " + ", ".join(map(str, inputs)))
    return photos


def decoded_bytes(pictures: list[Found]) -> float:
    """Estimated bytes of all ``pictures`` as 8-bit RGB, from the headers of up to ``SAMPLED`` of them."""
    areas = []
    for _, path in pictures[:: -(-len(pictures) // SAMPLED) or 1]:
        try:
            height, width = header_size(path)
        except PhotoError:
            continue  # reported when it is read
        areas.append(height * width)
    return 3.0 * len(pictures) * sum(areas) / len(areas) if areas else 0.0
