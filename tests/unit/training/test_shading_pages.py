"""Pages of smooth shading: what is smooth, what has outlines, and how a pack takes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training.pack import Pack, main
from training.shading_pages import page


def steepest(seed: int) -> float:
    """The largest step in levels between means of neighbouring squares, a fortieth of the page wide, which hold next to
    no grain."""
    pixels = page(seed).astype(np.float64)
    edge = pixels.shape[1] // 40
    squares = pixels.reshape(30, edge, 40, edge, 3).mean(axis=(1, 3))
    return float(max(np.abs(np.diff(squares, axis=axis)).max() for axis in (0, 1)))


def test_a_page_is_drawn_from_its_seed() -> None:
    first = page(1)
    assert first.shape == (480, 640, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, page(1))
    assert (first != page(5)).any()


def test_half_of_the_pages_are_twice_as_large() -> None:
    """So that there are skies in what is left of them after shrinking 4 times, and not only after 2."""
    assert [page(seed).shape[:2] for seed in range(1, 5)] == [(480, 640), (960, 1280), (960, 1280), (480, 640)]


@pytest.mark.parametrize("seed", range(2, 22, 2))
def test_even_pages_are_smooth_and_not_flat(seed: int) -> None:
    assert steepest(seed) < 16
    assert np.ptp(page(seed).mean(axis=2)) > 8


def test_odd_pages_have_outlines_before_it() -> None:
    assert np.median([steepest(seed) for seed in range(1, 21, 2)]) > 16


def test_the_pack_takes_pages_once(tmp_path: Path) -> None:
    arguments = ["-o", str(tmp_path / "shading.pack"), "--shading-pages"]
    assert main([*arguments, "2"]) == 0
    assert main([*arguments, "3"]) == 0
    pack = Pack(tmp_path / "shading.pack")
    assert pack.names == ["shading-page-0001", "shading-page-0002", "shading-page-0003"]
    np.testing.assert_array_equal(pack[2], page(3))
