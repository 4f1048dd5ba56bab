"""Pictures that tests train on: what bicubic blurs and a network can learn to keep sharp."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from training.resize import shrink


def scene(seed: int, edge: int = 160) -> np.ndarray:
    """Overlapping antialiased stripes and discs, (edge, edge, 3) uint8."""
    random = np.random.default_rng(seed)
    edge *= 2
    y, x = np.mgrid[:edge, :edge]
    image = np.full((edge, edge, 3), random.integers(0, 256, 3), np.uint8)
    for _ in range(14):
        angle, period = random.uniform(0, np.pi), random.uniform(40, 120)
        cy, cx, radius = (*random.uniform(0, edge, 2), random.uniform(30, 120))
        disc = (y - cy) ** 2 + (x - cx) ** 2 < radius**2
        stripes = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period) > 0
        image[disc & stripes] = random.integers(0, 256, 3)
    return shrink(image, 2)


def write_scenes(folder: Path, seeds: range) -> Path:
    """``folder`` with one PNG a seed."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        Image.fromarray(scene(seed)).save(folder / f"{seed}.png")
    return folder
