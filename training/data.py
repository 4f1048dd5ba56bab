"""Photographs to batches: crops of HR pictures with their LR, seeded by step so that any step can be redrawn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training.pack import Pack, PackError, pack_folders, write_pack
from training.resize import shrink

Batch8 = npt.NDArray[np.uint8]


def open_photos(inputs: list[Path], cache: Path) -> Pack:
    """The photographs of ``inputs`` (folders, files, or one pack made by ``chetko-pack``) as a pack.

    Folders are packed into ``cache`` first; a second run only adds what is new.
    """
    if len(inputs) == 1 and inputs[0].is_file() and inputs[0].suffix == ".pack":
        return Pack(inputs[0])
    cache.parent.mkdir(parents=True, exist_ok=True)
    count, skipped = pack_folders(inputs, cache)
    for sentence in skipped:
        print(f"skipped {sentence}")
    if count == 0:
        raise PackError("no readable picture was found in " + ", ".join(map(str, inputs)))
    return Pack(cache)


def low_resolution(photos: Pack, scale: int) -> Pack:
    """The LR of every picture in ``photos``, made by the protocol and kept beside the pack as ``FILE.x<scale>``."""
    path = photos.path.with_name(f"{photos.path.name}.x{scale}")
    known = len(Pack(path)) if path.exists() else 0
    if known < len(photos):

        def missing() -> Iterator[tuple[str, tuple[int, int], Batch8]]:
            for index in range(known, len(photos)):
                entry = photos.entries[index]
                yield entry.name, entry.source, shrink(photos[index], scale)

        write_pack(path, missing())
    return Pack(path)


class Patches:
    """Random aligned LR/HR crops of a pack, flipped and turned in all eight ways.

    ``patches`` crops are taken from a picture before another is drawn. A batch is a function of (seed, step) alone:
    a resumed run sees exactly what the uninterrupted one would have seen.
    """

    def __init__(
        self, photos: Pack, scale: int, *, patch_size: int, batch_size: int, patches: int = 1, seed: int = 0
    ) -> None:
        if patch_size % scale:
            raise ValueError(f"the patch size ({patch_size} HR pixels) must be a multiple of the scale ({scale})")
        self.photos = photos
        self.small = low_resolution(photos, scale)
        self.scale = scale
        self.edge = patch_size // scale
        self.batch_size = batch_size
        self.patches = patches
        self.seed = seed
        usable = [i for i, e in enumerate(self.small.entries) if min(e.height, e.width) >= self.edge]
        if not usable:
            raise ValueError(f"no picture is at least {patch_size} pixels wide and high")
        self.usable = np.array(usable)

    def batch(self, step: int) -> tuple[Batch8, Batch8]:
        """Step ``step``'s (LR, HR): uint8 (N, edge, edge, 3) and (N, edge*scale, edge*scale, 3)."""
        random = np.random.default_rng((self.seed, step))
        edge, scale = self.edge, self.scale
        small = np.empty((self.batch_size, edge, edge, 3), np.uint8)
        large = np.empty((self.batch_size, edge * scale, edge * scale, 3), np.uint8)
        drawn = random.choice(self.usable, -(-self.batch_size // self.patches))
        for row in range(self.batch_size):
            picture = int(drawn[row // self.patches])
            lr, hr = self.small[picture], self.photos[picture]
            top = int(random.integers(lr.shape[0] - edge + 1))
            left = int(random.integers(lr.shape[1] - edge + 1))
            turns, mirrored = int(random.integers(4)), bool(random.integers(2))
            small[row] = _turn(lr[top : top + edge, left : left + edge], turns, mirrored)
            rows = slice(top * scale, (top + edge) * scale)
            large[row] = _turn(hr[rows, left * scale : (left + edge) * scale], turns, mirrored)
        return small, large


def _turn(patch: Batch8, turns: int, mirrored: bool) -> Batch8:
    turned = np.rot90(patch, turns)
    return turned[:, ::-1] if mirrored else turned


def to_tensor(pixels: Batch8, device: torch.device) -> Tensor:
    """uint8 (N, H, W, 3) -> float32 (N, 3, H, W) in [0, 1], channels_last, on ``device``."""
    return torch.from_numpy(pixels).to(device, non_blocking=True).permute(0, 3, 1, 2).float().div_(255.0)
