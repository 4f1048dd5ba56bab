"""The model ``restore`` on what it is for: pictures that were saved as JPEG."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from app.imaging.picture import Picture, Pixels
from app.inference.engine import Engine
from app.inference.registry import Registry, model_folders
from app.inference.upscale import upscale
from tests.shared_data import BENCHMARKS, needs_benchmarks
from training.degradation import Degradation
from training.degraded_pictures import degraded_pairs
from training.evaluation.datasets import benchmark_pairs
from training.evaluation.lpips import distance
from training.evaluation.restore import mean_scores
from training.jpeg import through_pillow

BLOCK = 8
"""Edge of a JPEG block, in LR pixels."""
QUALITY = 30


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine(Registry.load(model_folders(None)), platform="cpu") as one:
        yield one


def enlarged(engine: Engine, model: str, pixels: Pixels, scale: int) -> Pixels:
    bands = upscale(Picture(pixels, None, "png"), engine.registry.find(model, scale), engine).bands()
    return np.concatenate(list(bands))


def skies() -> list[Pixels]:
    """Clear skies, as cameras give them: darker upwards (or, of every second, downwards), with a little grain.

    Several, because the ratio below depends on where a sky's slopes meet the quantization steps of the JPEG.
    """
    random = np.random.default_rng(7)
    height, width = 192, 256
    down, across = np.linspace(0, 1, height)[:, None, None], np.linspace(0, 1, width)[None, :, None]
    pictures = []
    for index in range(12):
        colour = np.array([92.0, 142.0, 205.0]) + random.uniform(-30, 30, 3)
        slope = down * [70, 52, 28] * random.uniform(0.3, 1.2) + across * [14, 9, 3] * random.uniform(-3, 3)
        pixels = colour + slope + random.normal(0, random.uniform(0, 2), (height, width, 1))
        picture = np.clip(pixels, 0, 255).astype(np.uint8)
        pictures.append(np.flipud(picture).copy() if index % 2 else picture)
    return pictures


def borders_and_insides(pixels: Pixels, scale: int) -> tuple[float, float]:
    """Mean absolute luma difference, in levels, of neighbours on both sides of a block's border, and inside of blocks.

    Both are taken where two LR pixels meet. Within one LR pixel every enlargement is smoother than from one to the
    next, whatever happened to the picture: with those neighbours counted as "inside", a sky that was never a JPEG
    seems to have blocks, 1.6 times the difference across their borders when bicubic interpolation enlarges it 4 times.
    """
    # Luma that is not rounded, as the metrics' is: inside of blocks it changes by less than a level.
    grey = pixels.astype(np.float64) @ (65.481 / 255, 128.553 / 255, 24.966 / 255)
    border, inside = [], []
    for rows in (grey, grey.T):
        gaps = np.abs(np.diff(rows, axis=1)).mean(axis=0)[scale - 1 :: scale]  # one per place where LR pixels meet
        at_border = np.arange(1, len(gaps) + 1) % BLOCK == 0
        border.append(gaps[at_border].mean())
        inside.append(gaps[~at_border].mean())
    return float(np.mean(border)), float(np.mean(inside))


def over_all(enlarge: Callable[[Pixels], Pixels], pictures: list[Pixels], scale: int) -> tuple[float, float]:
    """The means of ``borders_and_insides`` of all ``pictures``, enlarged."""
    border, inside = np.mean([borders_and_insides(enlarge(picture), scale) for picture in pictures], axis=0)
    return float(border), float(inside)


@pytest.mark.parametrize(("scale", "left"), [(2, 1 / 50), (4, 1 / 6)])
def test_a_clear_sky_shows_no_blocks(engine: Engine, scale: int, left: float) -> None:
    """As much across borders as inside of blocks, to a tenth, and not because something was drawn inside."""
    clear = skies()
    damaged = [through_pillow(picture, QUALITY) for picture in clear]
    of_fast, of_restore = (
        lambda small, model=model: enlarged(engine, model, small, scale) for model in ("fast", "restore")
    )
    border, grain = over_all(of_fast, clear, scale)
    assert border / grain == pytest.approx(1, abs=0.02), "the measure sees blocks without JPEG"
    before, around = over_all(of_fast, damaged, scale)
    assert before / around > 10, "there must be blocks to take away"
    after, inside = over_all(of_restore, damaged, scale)
    assert after / inside == pytest.approx(1, abs=0.1)
    assert after - inside <= before * left
    assert inside <= grain, "more inside of blocks than in the sky before it was a JPEG"


@needs_benchmarks
@pytest.mark.parametrize("scale", [2, 4])
def test_pictures_of_quality_30_come_nearer_to_the_original_than_by_fast(engine: Engine, scale: int) -> None:
    pairs = degraded_pairs(benchmark_pairs(BENCHMARKS / "Set14", scale), scale, Degradation(jpeg=(QUALITY,)))
    ours, theirs = (
        mean_scores(lambda small, model=model: enlarged(engine, model, small, scale), pairs, scale, lpips=distance())
        for model in ("restore", "fast")
    )
    assert ours["psnr"] - theirs["psnr"] >= 0.4, f"{ours} dB, {theirs} by fast"
    assert ours["lpips"] < theirs["lpips"], f"{ours}, {theirs} by fast"
