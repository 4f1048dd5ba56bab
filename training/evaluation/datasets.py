"""Pairs of small and sharp pictures: the published sets as given, or made from sharp pictures by the protocol."""

from __future__ import annotations

from collections.abc import Iterable
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
    sharp = sorted((folder / "HR").glob("*.png"))
    if not sharp:
        raise DatasetError(f"{folder} has no HR/*.png")
    pairs = []
    for path in sharp:
        small = folder / f"LR_x{scale}" / path.name
        if not small.is_file():
            raise DatasetError(f"{small} is missing")
        pairs.append((read_picture(small), read_picture(path)))
    return pairs
