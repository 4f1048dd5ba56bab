"""The service's measures are those of training, which it must not import."""

from __future__ import annotations

import numpy as np
import pytest

from app.imaging import bicubic, likeness
from app.imaging.picture import Pixels
from training import resize
from training.evaluation import metrics


def picture(height: int, width: int, channels: int) -> Pixels:
    y, x = np.mgrid[0:height, 0:width]
    smooth = np.stack([(x * 3 + y * (c + 2)) % 256 for c in range(channels)], axis=-1)
    noise = np.random.default_rng(5).integers(-20, 20, smooth.shape)
    return np.clip(smooth + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("scale", [2, 4])
def test_pictures_are_shrunk_and_enlarged_as_in_training(channels: int, scale: int) -> None:
    large = picture(44, 60, channels)
    small = bicubic.shrink(large, scale)
    np.testing.assert_array_equal(small, resize.shrink(large, scale))
    assert small.shape == (44 // scale, 60 // scale, channels)
    np.testing.assert_array_equal(bicubic.enlarge(small, scale), resize.matlab_resize(small, float(scale)))


@pytest.mark.parametrize("channels", [1, 3])
def test_measures_are_those_of_training(channels: int) -> None:
    first, second = picture(40, 52, channels), picture(40, 52, channels)[::-1].copy()
    planes = [likeness.shaved(likeness.luma(each), 4) for each in (first, second)]
    expected = [metrics.shave(metrics.luma(each), 4) for each in (first, second)]
    for plane, wanted in zip(planes, expected, strict=True):
        np.testing.assert_array_equal(plane, wanted)
    assert likeness.psnr(*planes) == pytest.approx(metrics.psnr(*expected), abs=1e-9)
    assert likeness.ssim(*planes) == pytest.approx(metrics.ssim(*expected), abs=1e-9)


def test_equal_pictures_have_no_psnr_and_all_of_ssim() -> None:
    plane = likeness.luma(picture(20, 20, 3))
    assert likeness.psnr(plane, plane) is None
    assert likeness.ssim(plane, plane) == pytest.approx(1)
    with pytest.raises(ValueError, match="11"):
        likeness.ssim(plane[:10], plane[:10])
