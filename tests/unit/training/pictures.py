"""Pictures for the tests of training data, and packs of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from training.pack import Pack, write_pack
from training.photo_files import PhotoFiles, find_pictures

Pixels = np.ndarray


def noise(height: int, width: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def waves(height: int, width: int, seed: int = 0) -> Pixels:
    """Smooth and unlike itself everywhere, as a photograph is."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    total = np.zeros((height, width, 3))
    for _ in range(12):
        fy, fx, phase = (*random.uniform(-0.2, 0.2, 2), random.uniform(0, 6))
        total += np.sin(fy * y + fx * x + phase)[:, :, None] * random.uniform(0, 25, 3)
    return np.clip(total + 128, 0, 255).astype(np.uint8)


def packed(path: Path, pictures: list[Pixels]) -> Pack:
    write_pack(path, [(f"p{i}", (i, i), picture) for i, picture in enumerate(pictures)])
    return Pack(path)


def filed(folder: Path, pictures: list[Pixels]) -> PhotoFiles:
    folder.mkdir(parents=True, exist_ok=True)
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"p{i:02}.png")
    return PhotoFiles(find_pictures([folder]), say=print)
