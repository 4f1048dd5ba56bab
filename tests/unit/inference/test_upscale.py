"""Pixels to enlarged pixels: tiles against the whole, grey, alpha, 16 bits, memory, cancelling."""

from __future__ import annotations

import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.imaging.picture import Picture, Pixels
from app.inference.engine import Engine
from app.inference.errors import DeviceOutOfMemoryError, InferenceError, UpscaleCancelledError
from app.inference.registry import Registry
from app.inference.upscale import upscale
from tests import models


def _picture(pixels: Pixels, alpha: Pixels | None = None) -> Picture:
    return Picture(np.ascontiguousarray(pixels), alpha, "png")


def _enlarge(engine: Engine, picture: Picture, name: str = "net", scale: int = 4, **options: Any) -> Pixels:
    variant = engine.registry.find(name, scale)
    upscaled = upscale(picture, variant, engine, **options)
    rows = np.concatenate(list(upscaled.bands()))
    assert rows.shape == (upscaled.height, upscaled.width, upscaled.channels)
    assert rows.dtype == picture.pixels.dtype
    return rows


def _twice(pixels: Pixels, scale: int) -> Pixels:
    return pixels.repeat(scale, 0).repeat(scale, 1)


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("tile", [None, 16, 30])
@pytest.mark.parametrize("shape", [(1, 1), (17, 233), (61, 83)])
def test_every_pixel_lands_in_its_place(engine: Engine, scale: int, tile: int | None, shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (*shape, 3), np.uint8)
    answer = _enlarge(engine, _picture(pixels), "nearest", scale, tile=tile)
    np.testing.assert_array_equal(answer, _twice(pixels, scale))


@pytest.mark.parametrize("tile", [16, 23, 64])
def test_tiled_equals_whole(engine: Engine, noise: Pixels, tile: int) -> None:
    whole = _enlarge(engine, _picture(noise))
    tiled = _enlarge(engine, _picture(noise), tile=tile)
    assert np.abs(whole.astype(int) - tiled).max() <= 1
    assert whole.std() > 10, "a picture, not a plain"


def test_a_halo_that_is_too_small_would_show(tmp_path: Path, noise: Pixels) -> None:
    # Guards the test above: with the wrong halo it must fail.
    models.write_model(tmp_path, "net", models.convolutions, halo=1)
    with Engine(Registry.load([tmp_path]), platform="cpu") as engine:
        whole = _enlarge(engine, _picture(noise))
        tiled = _enlarge(engine, _picture(noise), tile=16)
    assert np.abs(whole.astype(int) - tiled).max() > 1


def test_little_memory_gives_tiles_and_the_same_picture(registry: Registry, engine: Engine) -> None:
    pixels = np.random.default_rng(5).integers(0, 256, (300, 410, 3), np.uint8)
    whole = _enlarge(engine, _picture(pixels))
    with Engine(registry, platform="cpu", tile_memory_mb=16) as small:
        upscaled = upscale(_picture(pixels), registry.find("net", 4), small)
        assert upscaled.tiles > 4
        tiled = np.concatenate(list(upscaled.bands()))
    assert np.abs(whole.astype(int) - tiled).max() <= 1


def test_grey_stays_grey_and_is_seen_as_three_equal_channels(engine: Engine, noise: Pixels) -> None:
    grey = noise[:, :, :1]
    answer = _enlarge(engine, _picture(grey))
    colour = _enlarge(engine, _picture(grey.repeat(3, axis=2)))
    assert answer.shape[2] == 1
    np.testing.assert_allclose(answer[:, :, 0], colour.mean(axis=2), atol=0.51)
    np.testing.assert_array_equal(_enlarge(engine, _picture(grey), "nearest"), _twice(grey, 4))


def test_alpha_is_enlarged_as_grey_by_the_same_network(engine: Engine, noise: Pixels) -> None:
    # No pixel is fully transparent, so colours are what they are without alpha.
    alpha = noise[::-1, ::-1, 1] | 1
    answer = _enlarge(engine, _picture(noise, alpha), tile=30)
    np.testing.assert_array_equal(answer[:, :, :3], _enlarge(engine, _picture(noise), tile=30))
    np.testing.assert_array_equal(answer[:, :, 3:], _enlarge(engine, _picture(alpha[:, :, None]), tile=30))


def test_grey_with_alpha(engine: Engine, noise: Pixels) -> None:
    grey, alpha = noise[:, :, :1], noise[:, :, 1] | 1
    answer = _enlarge(engine, _picture(grey, alpha), "nearest")
    np.testing.assert_array_equal(answer, _twice(np.dstack([grey, alpha]), 4))


def test_constant_alpha_is_filled_in_without_running_it(engine: Engine, noise: Pixels) -> None:
    alpha = np.full(noise.shape[:2], 77, np.uint8)
    upscaled = upscale(_picture(noise, alpha), engine.registry.find("net", 4), engine, tile=30)
    assert upscaled.tiles == upscaled.plan.count
    assert upscaled.channels == 4
    assert {int(level) for band in upscaled.bands() for level in np.unique(band[:, :, 3])} == {77}


def test_colours_under_transparent_pixels_do_not_leak(engine: Engine) -> None:
    pixels = np.zeros((40, 40, 3), np.uint8)
    alpha = np.zeros((40, 40), np.uint8)
    pixels[:, :20] = 200  # what is seen is light; what is hidden is black
    alpha[:, :20] = 255
    hidden = _enlarge(engine, _picture(pixels, alpha))
    pixels[:, 20:] = 200
    same = _enlarge(engine, _picture(pixels, alpha))
    seen = slice(0, 80)
    np.testing.assert_allclose(hidden[:, seen, :3].astype(int), same[:, seen, :3], atol=1)


def test_a_16_bit_ramp_keeps_its_levels(engine: Engine) -> None:
    ramp = np.linspace(20_000, 24_000, 2000).astype(np.uint16).reshape(1, -1, 1).repeat(8, axis=0)
    for name in ("nearest", "net"):
        answer = _enlarge(engine, _picture(ramp), name, tile=100)
        assert len(np.unique(answer[16])) > 1000
    exact = _enlarge(engine, _picture(ramp.repeat(3, axis=2)), "nearest")
    np.testing.assert_array_equal(exact, _twice(ramp.repeat(3, axis=2), 4))


def test_every_16_bit_level_comes_back_as_it_was(engine: Engine) -> None:
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    for pixels in (levels, levels.repeat(3, axis=2)):
        np.testing.assert_array_equal(_enlarge(engine, _picture(pixels), "nearest", 2), _twice(pixels, 2))


def test_16_bit_extremes_and_alpha_survive(engine: Engine) -> None:
    pixels = np.array([[[0, 65535, 1], [65534, 32768, 257]]], np.uint16)
    alpha = np.array([[65535, 12345]], np.uint16)
    answer = _enlarge(engine, _picture(pixels, alpha), "nearest", 2)
    np.testing.assert_array_equal(answer, _twice(np.dstack([pixels, alpha]), 2))


def test_16_bit_agrees_with_8_bit(engine: Engine, noise: Pixels) -> None:
    wide = _enlarge(engine, _picture(noise.astype(np.uint16) * 257))
    narrow = _enlarge(engine, _picture(noise))
    assert np.abs(wide / 257 - narrow).max() <= 0.6


def test_bands_come_from_top_to_bottom_in_pieces(engine: Engine, noise: Pixels) -> None:
    upscaled = upscale(_picture(noise), engine.registry.find("nearest", 2), engine, tile=16)
    bands = list(upscaled.bands())
    assert [band.shape for band in bands] == [(32, 166, 3)] * 3 + [(26, 166, 3)]
    assert all(band.flags.c_contiguous for band in bands)


def test_the_next_band_is_computed_while_the_caller_works(registry: Registry, noise: Pixels) -> None:
    with Engine(registry, platform="cpu") as engine:
        upscaled = upscale(_picture(noise), registry.find("nearest", 2), engine, tile=16)
        bands = upscaled.bands()
        next(bands)
        # The second band runs dry while nobody asks for it; then the device is gone.
        deadline = time.monotonic() + 10
        while engine.queue_length() and time.monotonic() < deadline:
            time.sleep(0.01)
        engine.close()
        second = next(bands)
        np.testing.assert_array_equal(second, _twice(noise, 2)[32:64])
        with pytest.raises(UpscaleCancelledError):
            next(bands)


def test_tiles_halve_where_memory_runs_out_and_the_picture_is_right(tmp_path: Path, noise: Pixels) -> None:
    models.write_model(tmp_path, "net", partial(models.out_of_memory, above=900), halo=2)
    registry = Registry.load([tmp_path])
    seen: list[float] = []
    with Engine(registry, platform="cpu") as engine:
        for tile in (None, 40):
            answer = _enlarge(engine, _picture(noise), "net", 2, tile=tile, progress=seen.append)
            np.testing.assert_array_equal(answer, _twice(noise, 2))
            assert seen[-1] == 1.0


def test_no_memory_for_the_smallest_tile_fails_the_picture(tmp_path: Path, noise: Pixels) -> None:
    models.write_model(tmp_path, "net", partial(models.out_of_memory, above=1))
    with Engine(Registry.load([tmp_path]), platform="cpu") as engine, pytest.raises(DeviceOutOfMemoryError):
        _enlarge(engine, _picture(noise), "net")


@pytest.mark.parametrize("build", [models.failing, models.not_a_number])
def test_a_failed_tile_fails_the_whole_picture(tmp_path: Path, noise: Pixels, build: models.Builder) -> None:
    models.write_model(tmp_path, "net", build)
    with Engine(Registry.load([tmp_path]), platform="cpu") as engine, pytest.raises(InferenceError):
        _enlarge(engine, _picture(noise), "net", tile=30)


def test_progress_grows_to_one(engine: Engine, noise: Pixels) -> None:
    seen: list[float] = []
    _enlarge(engine, _picture(noise, noise[:, :, 0]), tile=16, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[0] < 0.5
    assert seen[-1] == 1.0
    assert len(seen) >= 4, "at least once for each of the four bands"


def test_cancelling_stops_between_tiles_and_empties_the_queue(registry: Registry, noise: Pixels) -> None:
    cancelled = threading.Event()
    seen: list[float] = []

    def progress(fraction: float) -> None:
        seen.append(fraction)
        cancelled.set()

    with Engine(registry, platform="cpu") as engine:
        with pytest.raises(UpscaleCancelledError):
            _enlarge(engine, _picture(noise), tile=16, cancelled=cancelled.is_set, progress=progress)
        assert engine.queue_length() == 0
        assert seen[-1] < 1
        _enlarge(engine, _picture(noise))


def test_an_abandoned_iterator_empties_the_queue(registry: Registry, noise: Pixels) -> None:
    with Engine(registry, platform="cpu") as engine:
        bands = upscale(_picture(noise), registry.find("net", 4), engine, tile=16).bands()
        next(bands)
        bands.close()
        assert engine.queue_length() == 0


def test_a_picture_keeps_a_bounded_number_of_tiles_in_the_queue(registry: Registry, noise: Pixels) -> None:
    longest = 0
    with Engine(registry, platform="cpu", queue_tiles=3) as engine:

        def progress(_: float) -> None:
            nonlocal longest
            longest = max(longest, engine.queue_length())

        answer = _enlarge(engine, _picture(noise), "nearest", tile=5, progress=progress)
    np.testing.assert_array_equal(answer, _twice(noise, 4))
    assert longest <= 3


def test_pictures_side_by_side_do_not_mix(engine: Engine) -> None:
    random = np.random.default_rng(11)
    pictures = [random.integers(0, 256, (40 + 7 * k, 90 - 5 * k, 3), np.uint8) for k in range(6)]
    answers: dict[int, Pixels] = {}

    def work(k: int) -> None:
        answers[k] = _enlarge(engine, _picture(pictures[k]), ("net", "nearest")[k % 2], 2, tile=20)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k, pixels in enumerate(pictures):
        alone = _enlarge(engine, _picture(pixels), ("net", "nearest")[k % 2], 2, tile=20)
        np.testing.assert_array_equal(answers[k], alone)
