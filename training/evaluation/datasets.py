"""Pairs of small and sharp pictures: the published sets as given, or made from sharp pictures by the protocol."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from training.resize import shrink

Image8 = npt.NDArray[np.uint8]
Pair = tuple[Image8, Image8]
"""(LR, HR), each (H, W) for one-channel files or (H, W, 3) RGB, uint8."""


class DatasetError(Exception):
    """A folder that is not a data set; the message says what was expected there."""


def read_picture(path: Path) -> Image8:
    """(H, W) for one-channel files, else (H, W, 3) RGB, uint8."""
    with Image.open(path) as image:
        return np.asarray(image if image.mode == "L" else image.convert("RGB"))


def pictures_in(folder: Path) -> list[Path]:
    """The picture files directly or deeper in ``folder``, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in {".png", ".jpg", ".jpeg"})


def sharp_pairs(paths: Iterable[Path], scale: int, *, crop: int | None = None) -> list[Pair]:
    """(LR, HR) of sharp pictures, LR made by the protocol; ``crop`` limits HR to its central square."""
    pairs = []
    for path in paths:
        large = read_picture(path)
        if crop:
            top, left = (max(0, side - crop) // 2 for side in large.shape[:2])
            large = large[top : top + crop, left : left + crop]
        pairs.append((shrink(large, scale), large))
    return pairs


def benchmark_pairs(folder: Path, scale: int) -> list[Pair]:
    """(LR, HR) of a set with ``HR/`` and ``LR_x<scale>/``; the given LR files, never re-made.

    Raises ``DatasetError`` when a file has no partner.
    """
    return [(example.small, example.large) for example in _benchmark(folder, scale)]


@dataclass(frozen=True)
class Example:
    """One picture of a data set, as in ``Pair``, with the name of its file."""

    name: str
    small: Image8
    large: Image8


def examples_of(folder: Path, scale: int) -> list[Example]:
    """The pictures of a data set folder of either kind: ``HR/`` and ``LR_x<scale>/``, or sharp pictures alone.

    Raises ``DatasetError`` when it holds no picture, or a file has no partner.
    """
    if (folder / "HR").is_dir():
        return _benchmark(folder, scale)
    paths = pictures_in(folder)
    if not paths:
        raise DatasetError(f"{folder} holds no picture")
    names = (path.relative_to(folder).with_suffix("").as_posix() for path in paths)
    return [Example(name, *pair) for name, pair in zip(names, sharp_pairs(paths, scale), strict=True)]


def _benchmark(folder: Path, scale: int) -> list[Example]:
    sharp = sorted((folder / "HR").glob("*.png"))
    if not sharp:
        raise DatasetError(f"{folder} has no HR/*.png")
    examples = []
    for path in sharp:
        small = folder / f"LR_x{scale}" / path.name
        if not small.is_file():
            raise DatasetError(f"{small} is missing")
        examples.append(Example(path.stem, read_picture(small), read_picture(path)))
    return examples
