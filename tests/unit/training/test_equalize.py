from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as arrays

from app.imaging.equalize import ChannelHistogram, apply_table, matching_table
from training.equalize import match_colours


@given(arrays.arrays(np.uint8, (9, 11, 3)), arrays.arrays(np.uint8, (5, 7, 3)))
@settings(max_examples=50, deadline=None)
def test_validation_measures_what_the_service_serves(image: np.ndarray, source: np.ndarray) -> None:
    served = apply_table(image, matching_table(ChannelHistogram.of(image), ChannelHistogram.of(source)))
    np.testing.assert_array_equal(match_colours(image, source), served)
    grey = match_colours(image[:, :, 1], source[:, :, 1])
    np.testing.assert_array_equal(grey, served[:, :, 1])


def test_ranks_go_to_equal_ranks() -> None:
    image = np.array([[0, 10, 20, 30]], np.uint8)
    source = np.array([[5, 5, 90, 90, 100, 100, 250, 250]], np.uint8)
    np.testing.assert_array_equal(match_colours(image, source), [[5, 90, 100, 250]])
    np.testing.assert_array_equal(image, [[0, 10, 20, 30]])


def test_what_cannot_be_matched() -> None:
    picture = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(ValueError, match="channels differ"):
        match_colours(picture, picture[:, :, 0])
    with pytest.raises(ValueError, match="no pixel"):
        match_colours(picture, picture[:0])
