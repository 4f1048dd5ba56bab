"""The model ``restore`` on what it is for: pictures that were saved as JPEG."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.imaging.picture import Picture, Pixels
from app.inference.engine import Engine
from app.inference.registry import Registry, model_folders
from app.inference.upscale import upscale

SET14 = Path(__file__).resolve().parents[3] / "shared" / "benchmarks" / "Set14"
BLOCK = 8
"""Edge of a JPEG block, in LR pixels."""


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine(Registry.load(model_folders(None)), platform="cpu") as one:
        yield one


def saved(picture: Image.Image, quality: int = 30) -> Pixels:
    """The picture as a JPEG of that quality gives it back."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))


def doubled(engine: Engine, model: str, pixels: Pixels) -> Pixels:
    bands = upscale(Picture(pixels, None, "png"), engine.registry.find(model, 2), engine).bands()
    return np.concatenate(list(bands))


def luma(pixels: Pixels) -> np.ndarray:
    return pixels.astype(np.float64) @ (65.481 / 255, 128.553 / 255, 24.966 / 255) + 16


def psnr(one: Pixels, other: Pixels) -> float:
    difference = (luma(one) - luma(other))[2:-2, 2:-2]
    return float(20 * np.log10(255 / np.sqrt(np.mean(difference**2))))


def sky() -> Image.Image:
    """A clear sky, as cameras give it: darker upwards, a little grain."""
    random = np.random.default_rng(7)
    height, width = 192, 256
    down = np.linspace(0, 1, height)[:, None, None]
    across = np.linspace(0, 1, width)[None, :, None]
    pixels = np.array([92.0, 142.0, 205.0]) + down * [70, 52, 28] + across * [14, 9, 3]
    return Image.fromarray(np.clip(pixels + random.normal(0, 1.2, (height, width, 1)), 0, 255).astype(np.uint8))


def borders_and_insides(pixels: Pixels) -> tuple[float, float]:
    """Mean absolute luma difference of neighbours on both sides of a block's border, and inside of blocks; x2."""
    grey, step = luma(pixels), 2 * BLOCK
    border, inside = [], []
    for rows in (grey, grey.T):
        gaps = np.abs(np.diff(rows, axis=1))
        at_border = np.arange(1, rows.shape[1]) % step == 0
        border.append(gaps[:, at_border].mean())
        inside.append(gaps[:, ~at_border].mean())
    return float(np.mean(border)), float(np.mean(inside))


def test_of_the_blocks_in_a_clear_sky_a_third_is_left(engine: Engine) -> None:
    """The aim is none (as much across borders as inside of blocks); a wider network must learn that."""
    damaged = saved(sky())
    before, _ = borders_and_insides(doubled(engine, "fast", damaged))
    after, inside = borders_and_insides(doubled(engine, "restore", damaged))
    assert after - inside <= before / 3, f"{after:.3f} levels across the blocks' borders, {before:.3f} by fast"


@pytest.mark.skipif(not SET14.is_dir(), reason="needs ../shared/benchmarks")
def test_pictures_of_quality_30_come_nearer_to_the_original_than_by_fast(engine: Engine) -> None:
    gains = []
    for path in sorted((SET14 / "HR").glob("*.png")):
        with Image.open(SET14 / "LR_x2" / path.name) as small, Image.open(path) as large:
            damaged, sharp = saved(small.convert("RGB")), np.asarray(large.convert("RGB"))
        sharp = sharp[: 2 * damaged.shape[0], : 2 * damaged.shape[1]]
        ours, theirs = (psnr(doubled(engine, model, damaged), sharp) for model in ("restore", "fast"))
        gains.append(ours - theirs)
    assert np.mean(gains) >= 0.4, f"{np.mean(gains):.2f} dB"
