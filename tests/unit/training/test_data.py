from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training.data import Patches, low_resolution
from training.pack import Pack, write_pack
from training.resize import shrink


@pytest.fixture
def photos(tmp_path: Path) -> Pack:
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 256, (128 + 8 * i, 140, 3), np.uint8) for i in range(3)]
    write_pack(tmp_path / "p.pack", [(f"p{i}", (i, i), picture) for i, picture in enumerate(pictures)])
    return Pack(tmp_path / "p.pack")


@pytest.mark.parametrize("scale", [2, 4])
def test_lr_and_hr_patches_show_the_same_place(photos: Pack, scale: int) -> None:
    patches = Patches(photos, scale, patch_size=64, batch_size=6, seed=3)
    small, large = patches.batch(0)
    assert small.shape == (6, 64 // scale, 64 // scale, 3)
    assert large.shape == (6, 64, 64, 3)
    inner = slice(4, -4)  # the patch's own border shrinks differently than it did inside its picture
    for row in range(6):
        # A turned picture is rounded columns first, so one level may differ; on noise any other place differs by far.
        again = shrink(large[row], scale)[inner, inner].astype(int)
        np.testing.assert_allclose(again, small[row][inner, inner], atol=1)


def test_a_batch_depends_on_seed_and_step_alone(photos: Pack) -> None:
    first = Patches(photos, 4, patch_size=64, batch_size=4, seed=1)
    again = Patches(photos, 4, patch_size=64, batch_size=4, seed=1)
    other = Patches(photos, 4, patch_size=64, batch_size=4, seed=2)
    again.batch(0)
    np.testing.assert_array_equal(first.batch(7)[1], again.batch(7)[1])
    assert not np.array_equal(first.batch(7)[1], first.batch(8)[1])
    assert not np.array_equal(first.batch(7)[1], other.batch(7)[1])


def test_patches_of_one_picture_follow_each_other(tmp_path: Path) -> None:
    flat = [np.full((100, 100, 3), level, np.uint8) for level in range(0, 200, 10)]
    write_pack(tmp_path / "p.pack", [(str(i), (i, i), picture) for i, picture in enumerate(flat)])
    patches = Patches(Pack(tmp_path / "p.pack"), 4, patch_size=32, batch_size=12, patches=4, seed=0)
    levels = patches.batch(0)[1][:, 0, 0, 0].reshape(3, 4)
    assert (levels == levels[:, :1]).all()
    assert len(set(levels[:, 0])) > 1


def test_all_eight_orientations_are_drawn(tmp_path: Path) -> None:
    picture = np.zeros((96, 96, 3), np.uint8)
    picture[0, 0], picture[0, -1] = 255, 100
    write_pack(tmp_path / "p.pack", [("p", (0, 0), picture)])
    patches = Patches(Pack(tmp_path / "p.pack"), 2, patch_size=96, batch_size=64, seed=0)
    large = patches.batch(0)[1][:, :, :, 0]
    corners = {tuple(p[y, x] for y, x in ((0, 0), (0, -1), (-1, 0), (-1, -1))) for p in large}
    assert len(corners) == 8


def test_lr_of_added_pictures_is_added(photos: Pack) -> None:
    low_resolution(photos, 4)
    extra = np.random.default_rng(9).integers(0, 256, (120, 128, 3), np.uint8)
    write_pack(photos.path, [("new", (9, 9), extra)])
    np.testing.assert_array_equal(low_resolution(Pack(photos.path), 4)[3], shrink(extra, 4))


def test_wrong_patch_sizes_are_refused(photos: Pack) -> None:
    with pytest.raises(ValueError, match="multiple of the scale"):
        Patches(photos, 4, patch_size=66, batch_size=4)
    with pytest.raises(ValueError, match="at least 512"):
        Patches(photos, 4, patch_size=512, batch_size=4)
