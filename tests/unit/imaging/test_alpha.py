"""Colours under transparent pixels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from app.imaging import alpha as module
from app.imaging.alpha import REACH, bleed, constant_alpha


def disk(height: int, width: int, *, bits: int = 8, channels: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A coloured disk on transparent black: (pixels, alpha, the colour it would have everywhere)."""
    top = (1 << bits) - 1
    y, x = np.mgrid[:height, :width]
    inside = (y - height * 0.45) ** 2 + (x - width * 0.4) ** 2 < (min(height, width) * 0.3) ** 2
    colour = np.stack([top * 0.9 + 0 * y, top * (0.3 + 0.2 * y / height), top * 0.1 + 0 * x], axis=2)[:, :, :channels]
    dtype = np.uint16 if bits == 16 else np.uint8
    colour = colour.astype(dtype)
    return np.where(inside[:, :, None], colour, 0).astype(dtype), np.where(inside, top, 0).astype(dtype), colour


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 3])
def test_visible_pixels_stay_and_hidden_ones_take_their_neighbours(bits: int, channels: int) -> None:
    pixels, alpha, colour = disk(300, 260, bits=bits, channels=channels)
    filled = bleed(pixels, alpha)
    assert filled.dtype == pixels.dtype
    np.testing.assert_array_equal(filled[alpha > 0], pixels[alpha > 0])
    away = ndimage.distance_transform_edt(alpha == 0)
    near = (away > 0) & (away <= 40)
    assert np.abs(filled[near].astype(int) - colour[near]).max() <= 0.06 * ((1 << bits) - 1)


def test_reach_covers_the_widest_receptive_field() -> None:
    pixels = np.zeros((300, 300, 3), np.uint8)
    alpha = np.zeros((300, 300), np.uint8)
    pixels[151, 149] = 200
    alpha[151, 149] = 1
    filled = bleed(pixels, alpha)
    away = ndimage.distance_transform_edt(alpha == 0)
    assert REACH >= 40
    assert (filled[away <= REACH] == 200).all()


def test_a_blur_over_the_edge_shows_no_halo() -> None:
    """A bicubic-like blur of the colours, then composed on black and on white with the blurred alpha."""
    pixels, alpha, colour = disk(200, 200)
    opacity = ndimage.gaussian_filter(alpha / 255, 1.2)[:, :, None]

    def composed(colours: np.ndarray, ground: int) -> np.ndarray:
        blurred = np.stack([ndimage.gaussian_filter(colours[:, :, c].astype(float), 1.2) for c in range(3)], axis=2)
        return blurred * opacity + ground * (1 - opacity)

    for ground in (0, 255):
        ideal = colour * opacity + ground * (1 - opacity)
        assert np.abs(composed(bleed(pixels, alpha), ground) - ideal).max() < 3
        assert np.abs(composed(pixels, ground) - ideal).max() > 25  # what it would look like without


def test_tiles_do_not_show(monkeypatch) -> None:
    generator = np.random.default_rng(3)
    pixels = generator.integers(0, 256, (400, 700, 3), dtype=np.uint8)
    alpha = np.where(ndimage.uniform_filter(generator.random((400, 700)), 31) > 0.505, 255, 0).astype(np.uint8)
    whole = bleed(pixels, alpha)
    monkeypatch.setattr(module, "_TILE", 64)
    np.testing.assert_array_equal(bleed(pixels, alpha), whole)


def test_nothing_to_do_returns_the_same_array() -> None:
    pixels = np.zeros((5, 6, 3), np.uint8)
    assert bleed(pixels, np.ones((5, 6), np.uint8)) is pixels
    assert bleed(pixels, np.zeros((5, 6), np.uint8)) is pixels


def test_the_source_is_not_changed() -> None:
    pixels, alpha, _ = disk(50, 50)
    before = pixels.copy()
    bleed(pixels, alpha)
    np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (17, 233), (16, 16)])
def test_odd_sizes(size: tuple[int, int]) -> None:
    alpha = np.zeros(size, np.uint8)
    alpha[0, 0] = 9
    pixels = np.full((*size, 3), 50, np.uint8)
    pixels[0, 0] = 120
    filled = bleed(pixels, alpha)
    assert (filled[:REACH, :REACH] == 120).all() or size[1] > REACH
    assert (filled[0, : min(REACH, size[1])] == 120).all()


def test_memory_is_bounded() -> None:
    import tracemalloc

    pixels, alpha, _ = disk(2000, 2000)
    tracemalloc.start()
    bleed(pixels, alpha)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < pixels.nbytes + alpha.nbytes + 60_000_000


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_constant_alpha(dtype: type) -> None:
    alpha = np.full((200, 30), 200, dtype)
    assert constant_alpha(alpha) == 200
    alpha[-1, -1] = 201
    assert constant_alpha(alpha) is None
