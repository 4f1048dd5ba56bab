from __future__ import annotations

import numpy as np

from tests.unit.training.scenes import scene
from training.degradation import Degradation
from training.degraded_pictures import degraded, degraded_pairs
from training.evaluation.metrics import luma, psnr
from training.resize import shrink

SHARP = scene(3)


def distance(first: np.ndarray, second: np.ndarray) -> float:
    return psnr(luma(first), luma(second))


def test_without_damage_pairs_stay_what_they_are() -> None:
    pairs = [(shrink(SHARP, 2), SHARP)]
    assert degraded_pairs(pairs, 2, Degradation())[0][0] is pairs[0][0]


def test_blur_equals_blurring_first_and_shrinking_then() -> None:
    sigma, radius = 1.5, 6
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    taps /= taps.sum()
    blurred = np.pad(SHARP.astype(float), ((radius, radius), (radius, radius), (0, 0)), mode="symmetric")
    for axis in (0, 1):
        blurred = np.apply_along_axis(lambda line: np.convolve(line, taps, "valid"), axis, blurred)
    expected = shrink(np.clip(np.rint(blurred), 0, 255).astype(np.uint8), 2).astype(int)
    ours = degraded(SHARP, 2, Degradation(blur=sigma))
    assert ours.shape == (80, 80, 3)
    assert np.abs(ours - expected).max() <= 2
    assert distance(ours, shrink(SHARP, 2)) < 40


def test_noise_has_the_sigma_that_was_asked_for_and_its_own_seed() -> None:
    clean, flat = shrink(SHARP, 2), np.full((200, 200, 3), 128, np.uint8)
    noisy = degraded(flat, 2, Degradation(noise=5.0), 1).astype(float)
    assert abs(noisy.std() - 5.0) < 0.2
    assert np.array_equal(degraded(SHARP, 2, Degradation(noise=5.0), 1), degraded(SHARP, 2, Degradation(noise=5.0), 1))
    assert not np.array_equal(noisy, degraded(flat, 2, Degradation(noise=5.0), 2))
    assert distance(degraded(SHARP, 2, Degradation(noise=5.0)), clean) < 40


def test_qualities_are_taken_in_turn_and_lower_ones_hurt_more() -> None:
    pairs = [(shrink(SHARP, 2), SHARP)] * 2
    clean = shrink(SHARP, 2)
    low, high = (distance(small, clean) for small, _ in degraded_pairs(pairs, 2, Degradation(jpeg=(10, 90))))
    assert low < high - 5


def test_pictures_of_odd_sizes_and_one_channel() -> None:
    grey = SHARP[:101, :77, 0]
    small, large = degraded_pairs([(shrink(grey, 4), grey)], 4, Degradation(blur=1.0, noise=1.0, jpeg=(50,)))[0]
    assert small.shape == (25, 19, 3)
    assert large.shape == (101, 77, 3)
