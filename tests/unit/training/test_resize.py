from __future__ import annotations

import numpy as np
import pytest

from tests.shared_data import BENCHMARKS, needs_benchmarks
from training.evaluation.datasets import benchmark_pairs, read_picture
from training.evaluation.restore import bicubic_restorer, mean_scores
from training.resize import axis_weights, keys_cubic, matlab_resize, shrink


def test_kernel_is_keys_with_a_minus_one_half() -> None:
    np.testing.assert_allclose(
        keys_cubic(np.array([0.0, 0.5, 1.0, 1.5, 2.0, -1.5])), [1, 0.5625, 0, -0.0625, 0, -0.0625]
    )


@pytest.mark.parametrize(("length", "out", "factor"), [(9, 36, 4.0), (40, 10, 0.25), (41, 21, 0.5), (3, 1, 0.25)])
def test_weights_sum_to_one_and_stay_inside(length: int, out: int, factor: float) -> None:
    indices, weights = axis_weights(length, out, factor)
    assert indices.min() >= 0
    assert indices.max() < length
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)


def test_a_ramp_stays_a_ramp() -> None:
    ramp = np.tile(np.arange(0, 240, 4, dtype=np.uint8)[None, :, None], (8, 1, 3))
    large = matlab_resize(ramp, 2.0)
    assert large.shape == (16, 120, 3)
    # Away from the ends cubic convolution reproduces a line: sample k lies at (k + 0.5) / 2 - 0.5.
    expected = np.floor(4 * ((np.arange(120) + 0.5) / 2 - 0.5) + 0.5)
    np.testing.assert_array_equal(large[0, 4:-4, 0], expected[4:-4])


def test_shrink_cuts_from_the_top_left() -> None:
    image = np.random.default_rng(0).integers(0, 256, (43, 50, 3), np.uint8)
    np.testing.assert_array_equal(shrink(image, 4), matlab_resize(image[:40, :48], 0.25))


def test_only_bytes_are_resized() -> None:
    with pytest.raises(TypeError, match="uint8"):
        matlab_resize(np.zeros((8, 8), np.float32), 2.0)  # type: ignore[arg-type]


@needs_benchmarks
@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("name", ["Set5", "Set14"])
def test_lr_equals_the_given_files_but_for_three_border_pixels(name: str, scale: int) -> None:
    for path in sorted((BENCHMARKS / name / "HR").glob("*.png")):
        given = read_picture(BENCHMARKS / name / f"LR_x{scale}" / path.name)
        made = shrink(read_picture(path), scale)
        np.testing.assert_array_equal(made[3:-3, 3:-3], given[3:-3, 3:-3], err_msg=path.name)


@needs_benchmarks
@pytest.mark.parametrize(
    ("name", "scale", "published"),
    [("Set5", 2, 33.64), ("Set5", 4, 28.42), ("Set14", 2, 30.22), ("Set14", 4, 25.99)],
)
def test_bicubic_reproduces_the_published_row(name: str, scale: int, published: float) -> None:
    row = mean_scores(bicubic_restorer(scale), benchmark_pairs(BENCHMARKS / name, scale), scale)
    assert row["psnr"] == pytest.approx(published, abs=0.006)
