from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from training.evaluation.metrics import chroma, luma, psnr, shave, ssim


def test_luma_of_the_corners_of_the_cube() -> None:
    colours = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    np.testing.assert_array_equal(luma(colours)[0], [16, 235, 81, 145, 41])


def test_chroma_of_the_corners_of_the_cube() -> None:
    corners = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 0, 255], [255, 255, 0]]], np.uint8)
    expected = [[0, 0], [0, 0], [-37.797, 112], [112, -18.214], [-112, 18.214]]
    np.testing.assert_allclose(chroma(corners)[0], expected, atol=1e-9)


def test_one_channel_is_compared_as_it_is_unless_asked() -> None:
    grey = np.array([[0, 128, 255]], np.uint8)
    np.testing.assert_array_equal(luma(grey), [[0, 128, 255]])
    np.testing.assert_array_equal(luma(grey, grey_as_rgb=True), [[16, 126, 235]])


def test_psnr_of_a_constant_error() -> None:
    zeros = np.zeros((20, 20))
    assert psnr(zeros, zeros + 5.0) == pytest.approx(20 * math.log10(255 / 5))
    assert psnr(zeros, zeros) == math.inf
    with pytest.raises(ValueError, match="compare"):
        psnr(zeros, zeros[1:])


def test_shave_takes_the_border_off() -> None:
    plane = np.arange(36.0).reshape(6, 6)
    np.testing.assert_array_equal(shave(plane, 2), [[14, 15], [20, 21]])
    assert shave(plane, 0).shape == (6, 6)


def test_ssim_against_an_independent_implementation() -> None:
    random = np.random.default_rng(3)
    first = random.integers(0, 256, (60, 50)).astype(float)
    second = np.clip(first + random.normal(0, 20, first.shape), 0, 255)

    def blur(plane: np.ndarray) -> np.ndarray:
        return gaussian_filter(plane, 1.5, truncate=5 / 1.5)[5:-5, 5:-5]

    mu1, mu2 = blur(first), blur(second)
    s11, s22, s12 = blur(first**2) - mu1**2, blur(second**2) - mu2**2, blur(first * second) - mu1 * mu2
    c1, c2 = 2.55**2, 7.65**2
    expected = ((2 * mu1 * mu2 + c1) * (2 * s12 + c2) / ((mu1**2 + mu2**2 + c1) * (s11 + s22 + c2))).mean()
    assert ssim(first, second) == pytest.approx(float(expected), abs=1e-9)
    assert ssim(first, first) == pytest.approx(1.0)
