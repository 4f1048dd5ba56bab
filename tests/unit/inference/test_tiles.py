"""The planner: every pixel kept once, real neighbourhoods, closed shapes, bounded memory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.inference.tiles import LADDER, Costs, Plan, Tile, halves, plan, plan_kept_squares

sizes = st.integers(1, 1500)
halos = st.integers(0, 60)
memories = st.integers(1, 600).map(lambda megabytes: megabytes * 2**20)


def _all_tiles(cut: Plan) -> list[Tile]:
    return [tile for _, tiles in cut.bands() for tile in tiles]


def test_bands_hold_all_tiles_from_top_left_to_bottom_right() -> None:
    cut = plan_kept_squares(100, 150, halo=3, edge=60)
    bands = list(cut.bands())
    assert [rows for rows, _ in bands] == list(cut.rows)
    assert [tile.rows for _, tiles in bands for tile in tiles] == [rows for rows in cut.rows for _ in range(3)]
    assert [tile.columns for _, tiles in bands for tile in tiles] == [*cut.columns] * 2


def _check(cut: Plan) -> None:
    """Everything that a plan guarantees."""
    for spans, size in ((cut.rows, cut.height), (cut.columns, cut.width)):
        kept = 0
        for span in spans:
            assert span.keep == kept, "kept regions follow each other without gap or overlap"
            assert span.keep_stop > span.keep
            assert 0 <= span.start <= span.keep
            assert span.keep_stop <= span.stop <= size, "tiles lie inside the picture"
            assert span.start == 0 or span.keep - span.start >= cut.halo, "real neighbourhood, or the border"
            assert span.stop == size or span.stop - span.keep_stop >= cut.halo
            kept = span.keep_stop
        assert kept == size
    for spans, edge in zip((cut.rows, cut.columns), cut.shape, strict=True):
        assert {span.stop - span.start for span in spans} == {edge}, "one shape"
    assert cut.count == len(cut.rows) * len(cut.columns)


@given(sizes, sizes, halos, memories, st.booleans())
def test_plans_keep_what_they_guarantee(height: int, width: int, halo: int, memory: int, closed: bool) -> None:
    _check(plan(height, width, halo=halo, costs=Costs(memory, 600, 48), closed=closed))


@given(sizes, sizes, halos, st.integers(1, 700))
def test_kept_squares_keep_what_they_guarantee(height: int, width: int, halo: int, edge: int) -> None:
    cut = plan_kept_squares(height, width, halo=halo, edge=edge)
    _check(cut)
    for spans, size in ((cut.rows, height), (cut.columns, width)):
        assert [span.keep for span in spans] == list(range(0, size, edge)), "a grid of the asked edge"


@given(sizes, sizes, halos, memories)
def test_closed_shapes_come_from_the_ladder(height: int, width: int, halo: int, memory: int) -> None:
    cut = plan(height, width, halo=halo, costs=Costs(memory, 600, 48), closed=True)
    for edge, size in zip(cut.shape, (height, width), strict=True):
        # A picture shorter than the first step that keeps anything beside its halos runs at its own length.
        assert edge in LADDER or edge == size < min(step for step in LADDER if step > 2 * halo)


@given(sizes, sizes, st.integers(0, 12), st.integers(32, 600), st.booleans())
def test_memory_is_bounded(height: int, width: int, halo: int, megabytes: int, closed: bool) -> None:
    costs = Costs(megabytes * 2**20, 600, 48)
    cut = plan(height, width, halo=halo, costs=costs, closed=closed)
    band = max(span.keep_stop - span.keep for span in cut.rows)
    held = costs.of_tile(cut.shape) + costs.of_bands(band, width, len(cut.rows))
    assert held <= costs.memory


@given(sizes, sizes, halos)
def test_a_picture_that_fits_runs_whole_where_shapes_are_free(height: int, width: int, halo: int) -> None:
    cut = plan(height, width, halo=halo, costs=Costs(2**40, 600, 48), closed=False)
    assert cut.shape == (height, width)
    assert cut.count == 1


@pytest.mark.parametrize(("size", "edge"), [(95, 95), (96, 96), (128, 128), (512, 512)])
def test_closed_shapes_of_plain_sizes(size: int, edge: int) -> None:
    cut = plan(size, size, halo=9, costs=Costs(256 * 2**20, 600, 48), closed=True)
    assert cut.shape == (edge, edge)
    assert cut.count == 1


def test_the_shape_with_the_least_waste_is_chosen() -> None:
    # 600 = 375 + 366 with tiles of 384, but 4 x 192 = 768 and 6 x 128 = 768 compute as much in more tiles.
    cut = plan(600, 512, halo=9, costs=Costs(256 * 2**20, 600, 48), closed=True)
    assert cut.shape == (384, 512)
    assert len(cut.rows) == 2


def test_free_edges_divide_evenly() -> None:
    cut = plan(1000, 500, halo=10, costs=Costs(200 * 2**20, 600, 0), closed=False)
    assert len(cut.rows) * len(cut.columns) == 2
    computed = cut.count * cut.shape[0] * cut.shape[1]
    assert computed <= 1.03 * 1000 * 500


@pytest.mark.parametrize("closed", [False, True])
def test_wide_pictures_get_low_bands(closed: bool) -> None:
    costs = Costs(256 * 2**20, 1040, 48)
    cut = plan(4000, 6000, halo=9, costs=costs, closed=closed)
    band = max(span.keep_stop - span.keep for span in cut.rows)
    assert costs.of_tile(cut.shape) + 2 * band * 6000 * 48 <= costs.memory
    waste = cut.count * cut.shape[0] * cut.shape[1] / (4000 * 6000)
    assert waste < 1.2


@pytest.mark.parametrize("closed", [False, True])
def test_a_picture_too_wide_for_the_memory_still_gets_a_useful_tile(closed: bool) -> None:
    costs = Costs(64 * 2**20, 600, 48)
    cut = plan(30_000, 30_000, halo=9, costs=costs, closed=closed)
    assert cut.shape[0] < 200, "low bands first of all"
    assert costs.memory / 8 < costs.of_tile(cut.shape) <= costs.memory / 4


def test_tiny_memory_gives_the_smallest_tile() -> None:
    assert plan(1000, 1000, halo=9, costs=Costs(1, 600, 48), closed=True).shape == (96, 96)


@given(st.integers(40, 900), st.integers(40, 900), st.integers(0, 12), st.data())
def test_halves_keep_the_same_region(height: int, width: int, halo: int, data: st.DataObject) -> None:
    cut = plan_kept_squares(height, width, halo=halo, edge=200)
    tile = data.draw(st.sampled_from(_all_tiles(cut)))
    parts = halves(tile, cut)
    if parts is None:
        longer = max(tile.rows.keep_stop - tile.rows.keep, tile.columns.keep_stop - tile.columns.keep)
        assert longer < 2 * max(8, halo)
        return
    covered = np.zeros((height, width), int)
    for part in parts:
        assert part.area < tile.area
        for span, size in ((part.rows, height), (part.columns, width)):
            assert 0 <= span.start <= span.keep < span.keep_stop <= span.stop <= size
            assert span.start == 0 or span.keep - span.start >= halo
            assert span.stop == size or span.stop - span.keep_stop >= halo
        covered[part.rows.keep : part.rows.keep_stop, part.columns.keep : part.columns.keep_stop] += 1
    expected = np.zeros_like(covered)
    expected[tile.rows.keep : tile.rows.keep_stop, tile.columns.keep : tile.columns.keep_stop] = 1
    np.testing.assert_array_equal(covered, expected)
