"""The pictures that halo and parity are proved on, and those that int8 is calibrated on: photos, text, flat graphics,
uniform and 1-bit noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Image8 = npt.NDArray[np.uint8]
EDGE = 200


def photo(path: Path, edge: int = EDGE) -> Image8:
    """The central ``edge`` x ``edge`` of the photograph at ``path``."""
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    left, top = ((side - min(side, edge)) // 2 for side in image.size)
    return np.asarray(image.crop((left, top, left + min(edge, image.width), top + min(edge, image.height))))


def text(edge: int = EDGE) -> Image8:
    """Lines of black text in many sizes on white."""
    image = Image.new("RGB", (edge, edge), "white")
    draw = ImageDraw.Draw(image)
    y = 2
    for size in (6, 8, 9, 11, 13, 16, 20, 28, 40):
        draw.text((3, y), "Sphinx of black quartz, judge my vow 0123456789", "black", ImageFont.load_default(size))
        y += size + 4
    return np.asarray(image)


def graphics(edge: int = EDGE) -> Image8:
    """Flat saturated shapes with hard edges."""
    image = Image.new("RGB", (edge, edge), (250, 250, 245))
    draw = ImageDraw.Draw(image)
    colours = ["red", "lime", "blue", "yellow", "magenta", "cyan", "black", "orange"]
    for index, colour in enumerate(colours):
        x, y = (index % 3) * edge // 3 + 6, (index // 3) * edge // 3 + 6
        box = (x, y, x + edge // 4, y + edge // 4)
        (draw.ellipse if index % 2 else draw.rectangle)(box, fill=colour)
        draw.line((0, y, edge, x), fill=colour, width=1 + index % 3)
    return np.asarray(image)


def poster() -> Image8:
    """640 x 640 graphics, for halos alone: far inside its flat shapes a network's features are as large as they get,
    and a deviation of theirs reaches further than in 200 px."""
    return graphics(640)


def uniform_noise(edge: int = EDGE, seed: int = 1) -> Image8:
    """Independent uniform noise, 0..255."""
    return np.random.default_rng(seed).integers(0, 256, (edge, edge, 3), np.uint8)


def one_bit_noise(edge: int = EDGE, seed: int = 2) -> Image8:
    """Independent noise of 0 and 255 in each channel: the hardest picture for a halo."""
    return (np.random.default_rng(seed).integers(0, 2, (edge, edge, 3), np.uint8) * 255).astype(np.uint8)


def proving_set(photos: list[Path]) -> dict[str, Image8]:
    """All of the above by name."""
    made = {
        "text": text(), "graphics": graphics(), "uniform-noise": uniform_noise(), "one-bit-noise": one_bit_noise(),
    }  # fmt: skip
    return {path.stem: photo(path) for path in photos} | made


def calibration_set(photos: list[Path]) -> list[Image8]:
    """Pictures of the same kinds as ``proving_set``, and none that is in it: photos shrunk to half and turned over,
    text and graphics in negative, other noise."""
    small = [np.ascontiguousarray(photo(path, 2 * EDGE)[::-2, ::2]) for path in photos]
    return [*small, 255 - text(), 255 - graphics(), uniform_noise(seed=11), one_bit_noise(seed=12)]
