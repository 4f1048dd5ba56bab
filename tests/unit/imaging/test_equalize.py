"""Histogram matching."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as arrays

from app.imaging.equalize import ChannelHistogram, apply_table, matching_table
from tests.unit.imaging import samples


@pytest.mark.parametrize("bits", [8, 16])
def test_rows_add_up_to_the_whole(bits: int) -> None:
    scene = samples.scene(200, 70, bits=bits)
    parts = ChannelHistogram(3, bits)
    for top in range(0, 200, 33):
        parts.add(scene[top : top + 33])
    np.testing.assert_array_equal(parts.counts, ChannelHistogram.of(scene).counts)
    assert parts.counts.sum() == scene.size
    assert parts.counts[1, scene[5, 5, 1]] == (scene[:, :, 1] == scene[5, 5, 1]).sum()


def test_alpha_is_not_counted_and_not_changed() -> None:
    scene = samples.scene(channels=4)
    histogram = ChannelHistogram(3, 8)
    histogram.add(scene)
    np.testing.assert_array_equal(histogram.counts, ChannelHistogram.of(scene[:, :, :3]).counts)
    table = 255 - np.arange(256, dtype=np.uint8)[None].repeat(3, axis=0)
    out = apply_table(scene, table)
    np.testing.assert_array_equal(out[:, :, :3], 255 - scene[:, :, :3])
    np.testing.assert_array_equal(out[:, :, 3], scene[:, :, 3])


@pytest.mark.parametrize("bits", [8, 16])
def test_a_shifted_and_flattened_picture_gets_its_colours_back(bits: int) -> None:
    source = samples.scene(120, 120, bits=bits)
    large = source.repeat(4, axis=0).repeat(4, axis=1)
    top = (1 << bits) - 1
    dull = (large * 0.6 + top * np.array([0.1, 0.2, 0.3])).astype(source.dtype)
    table = matching_table(ChannelHistogram.of(dull), ChannelHistogram.of(source))
    back = apply_table(dull, table)
    assert back.dtype == source.dtype
    assert np.abs(back.astype(int) - large).max() / top < 0.02


@given(arrays.arrays(np.uint8, (9, 11, 3)), arrays.arrays(np.uint8, (5, 7, 3)))
@settings(max_examples=50, deadline=None)
def test_what_a_table_guarantees(output: np.ndarray, source: np.ndarray) -> None:
    table = matching_table(ChannelHistogram.of(output), ChannelHistogram.of(source))
    assert (np.diff(table.astype(int), axis=1) >= 0).all()
    assert (apply_table(output, table).min(axis=(0, 1)) >= source.min(axis=(0, 1))).all()
    assert (apply_table(output, table).max(axis=(0, 1)) <= source.max(axis=(0, 1))).all()
    same = matching_table(ChannelHistogram.of(output), ChannelHistogram.of(output))
    np.testing.assert_array_equal(apply_table(output, same), output)


def test_grey() -> None:
    source = samples.scene(channels=1)
    table = matching_table(ChannelHistogram.of(source // 2), ChannelHistogram.of(source))
    assert np.abs(apply_table(source // 2, table).astype(int) - source).max() <= 2


def test_histograms_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="differ"):
        matching_table(ChannelHistogram(3, 8), ChannelHistogram(1, 8))
    with pytest.raises(ValueError, match="empty"):
        matching_table(ChannelHistogram(3, 8), ChannelHistogram(3, 8))
