"""Training pictures that are, but for size, compression or a turn, pictures of a test set.

Perceptual hash after C. Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010:
the low frequencies of a small grey copy, each compared with their median.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from training.photo_files import PhotoError, Pixels, find_pictures, read_rgb

EDGE = 64  # of the grey copy
FREQUENCIES = 16  # per axis: 256 bits
ALIKE = 64
"""Bits of 256 that may differ. On Set5, Set14 and BSD100: a quarter of the size at JPEG quality 10, gamma 0.6, 30 %
brighter or 2 % cut off each side change at most 48; two different pictures, ``../shared/photos`` included, differ in 90
or more."""

Bits = npt.NDArray[np.bool_]


def _cosines() -> npt.NDArray[np.float32]:
    frequency, place = np.arange(FREQUENCIES)[:, None], np.arange(EDGE)[None, :]
    return np.cos(np.pi * (2 * place + 1) * frequency / (2 * EDGE)).astype(np.float32)


def grey_copy(pixels: Pixels) -> npt.NDArray[np.float32]:
    """(H, W, 3) uint8 -> its (EDGE, EDGE) grey copy, the sides not kept in proportion."""
    small = Image.fromarray(pixels).convert("L").resize((EDGE, EDGE), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return np.asarray(small, np.float32)


def perceptual_hash(grey: npt.NDArray[np.float32]) -> Bits:
    """The 256 bits of an (EDGE, EDGE) grey copy: which of its low frequencies lie above their median."""
    cosines = _cosines()
    waves = (cosines @ grey @ cosines.T).ravel()
    waves[0] = np.median(waves[1:])  # the mean brightness says nothing about what is shown
    return waves > np.median(waves[1:])


class NearDuplicates:
    """The pictures of test sets, in all eight orientations, to compare training pictures with.

    Finds a whole picture that was resized, recompressed, made brighter, mirrored or turned. Does not find a cut-out.
    Raises ``PhotoError`` for a folder without readable pictures: a check against nothing would pass everything.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        self._files: list[str] = []
        hashes: list[Bits] = []
        for folder in folders:
            pictures = find_pictures([folder])
            if not pictures:
                raise PhotoError(f"{folder} holds no picture to compare with")
            for _, path in pictures:
                grey = grey_copy(read_rgb(path))
                for side in (grey, grey.T):
                    hashes += [perceptual_hash(np.rot90(side, turns)) for turns in range(4)]
                self._files.append(str(path))
        self._hashes = np.array(hashes)

    def like(self, pixels: Pixels) -> str | None:
        """The file of the test picture that ``pixels`` (H, W, 3) is a near-duplicate of, if there is one."""
        different = (self._hashes != perceptual_hash(grey_copy(pixels))).sum(axis=1)
        nearest = int(different.argmin())
        return self._files[nearest // 8] if different[nearest] <= ALIKE else None
