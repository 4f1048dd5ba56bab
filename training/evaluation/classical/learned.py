"""What the learning classical methods learn from, and where it is kept.

``python -m training.evaluation.classical.learned PACK`` learns it anew from a pack of photographs that holds no
test picture (``chetko-pack --exclude-like``).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from training.evaluation.classical import kim, scsr
from training.evaluation.classical.luma import WEIGHTS, Learned, Plane, file, resize
from training.pack import Pack
from training.resize import shrink

PHOTOS = 80
EDGE = 288
"""Of so many photographs the central square of this many pixels."""


def planes(pack: Pack, scale: int) -> Iterator[tuple[Plane, Plane]]:
    """(small luma, sharp luma) of ``PHOTOS`` photographs, evenly spread over the pack."""
    for index in np.linspace(0, len(pack) - 1, PHOTOS).astype(int):
        photo = pack[index]
        top, left = (max(0, (side - EDGE) // 2) // scale * scale for side in photo.shape[:2])
        square = photo[top : top + EDGE, left : left + EDGE]
        square = square[: square.shape[0] // scale * scale, : square.shape[1] // scale * scale]
        sharp = 16 + square.astype(np.float32) @ WEIGHTS
        yield 16 + shrink(square, scale).astype(np.float32) @ WEIGHTS, sharp


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.evaluation.classical.learned", description=__doc__)
    parser.add_argument("pack", type=Path, help="made by chetko-pack, without test pictures")
    parser.add_argument("--methods", nargs="+", choices=("kim", "scsr"), default=["kim", "scsr"], help="which learn")
    options = parser.parse_args()
    pack = Pack(options.pack)
    for scale in (2, 4):
        pairs = list(planes(pack, scale))
        if "kim" in options.methods:
            save(kim.learn([(resize(small, sharp.shape), sharp) for small, sharp in pairs], scale), file("kim", scale))
        if "scsr" in options.methods:
            save(scsr.learn(pairs, scale), file("scsr", scale))


def save(arrays: Learned, path: Path) -> None:
    """Stored as float16, half the size; computed with in float32."""
    np.savez_compressed(path, **{name: array.astype(np.float16) for name, array in arrays.items()})
    print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
