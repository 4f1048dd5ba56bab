"""Pictures of any size whose every pixel matters: a row that is lost, doubled or moved shows."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def photo_like(width: int, height: int, seed: int = 0) -> bytes:
    """A PNG with slopes, edges and grain, as photographs have them."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    base = 96 + 64 * np.sin(x / (17 + seed % 7)) * np.cos(y / 23) + 48 * ((x // 61 + y // 47) % 2)
    picture = np.stack([base, np.roll(base, 9, axis=1), base[::-1]], axis=-1)
    picture += random.integers(-6, 7, picture.shape)
    file = io.BytesIO()
    Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(file, "PNG", compress_level=1)
    return file.getvalue()
