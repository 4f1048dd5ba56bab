from __future__ import annotations

import io
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor

from tests.unit.training.pictures import filed, noise, packed, waves
from training.data import Batch, Patches, low_resolution
from training.degradation import Degradation
from training.pack import Pack, write_pack
from training.resize import shrink


def levels(batch: Tensor) -> np.ndarray:
    """(N, H, W, 3) whole levels."""
    scaled = batch.permute(0, 2, 3, 1).double().numpy() * 255.0
    np.testing.assert_allclose(scaled, scaled.round(), atol=1e-4)
    return scaled.round().astype(np.uint8)


def same(first: Batch, second: Batch) -> bool:
    return (
        torch.equal(first.small, second.small)
        and torch.equal(first.large, second.large)
        and first.pictures == second.pictures
    )


def place_of(patches: Patches, row: int) -> tuple[int, slice, slice]:
    """Picture and LR window of a row of step 0."""
    drawn = patches.rows(0)[row]
    edge = patches.edge
    return drawn.picture, slice(drawn.top, drawn.top + edge), slice(drawn.left, drawn.left + edge)


def unturned(patches: Patches, row: int, patch: np.ndarray) -> np.ndarray:
    """What a row of step 0 was before it was turned."""
    turn = patches.rows(0)[row].turn
    patch = patch.swapaxes(0, 1) if turn & 4 else patch
    return patch[:: -1 if turn & 1 else 1, :: -1 if turn & 2 else 1]


@pytest.fixture
def photos(tmp_path: Path) -> Pack:
    return packed(tmp_path / "p.pack", [noise(128 + 8 * i, 140, i) for i in range(3)])


@pytest.mark.parametrize("scale", [2, 4])
def test_lr_and_hr_patches_show_the_same_place(photos: Pack, scale: int) -> None:
    patches = Patches(photos, scale, patch_size=64, batch_size=8, seed=3)
    batch = patches.batch(0)
    small, large = levels(batch.small), levels(batch.large)
    assert small.shape == (8, 64 // scale, 64 // scale, 3)
    assert large.shape == (8, 64, 64, 3)
    assert batch.small.dtype == batch.large.dtype == torch.float32
    assert batch.large.is_contiguous(memory_format=torch.channels_last)
    inner = slice(4, -4)  # the patch's own border shrinks differently than it did inside its picture
    assert len({row.turn for row in patches.rows(0)}) > 3
    for row in range(8):
        again = shrink(unturned(patches, row, large[row]), scale)
        np.testing.assert_array_equal(again[inner, inner], unturned(patches, row, small[row])[inner, inner])


@pytest.mark.parametrize("scale", [2, 4])
def test_patches_from_files_equal_patches_from_a_pack(tmp_path: Path, scale: int) -> None:
    # 65 and 67 are no multiples of the scale, and most patches touch a border, where LR is of the mirrored picture.
    pictures = [noise(65 + i, 67, i) for i in range(4)]
    pack, files = packed(tmp_path / "p.pack", pictures), filed(tmp_path / "in", pictures)
    from_pack = Patches(pack, scale, patch_size=48, batch_size=16, seed=5)
    from_files = Patches(files, scale, patch_size=48, batch_size=16, seed=5)
    for step in range(3):
        first, second = from_pack.batch(step), from_files.batch(step)
        assert torch.equal(first.small, second.small)
        assert torch.equal(first.large, second.large)
        assert [name.removesuffix(".png")[-1] for name in second.pictures] == [name[-1] for name in first.pictures]


def test_a_batch_depends_on_seed_and_step_alone(photos: Pack, tmp_path: Path) -> None:
    degradation = Degradation(0.8, 4.0, (20, 80))
    for source in (photos, filed(tmp_path / "in", [noise(100, 100, i) for i in range(5)])):
        first, again, other = (
            Patches(source, 4, patch_size=32, batch_size=4, seed=seed, degradation=degradation) for seed in (1, 1, 2)
        )
        for step in range(7):
            again.batch(step)
        assert same(first.batch(7), again.batch(7))
        assert not same(first.batch(7), first.batch(8))
        assert not same(first.batch(7), other.batch(7))


def test_batches_prepared_in_a_thread_are_the_same(photos: Pack) -> None:
    patches = Patches(photos, 4, patch_size=32, batch_size=4, degradation=Degradation(noise=2.0))
    before = threading.active_count()
    with closing(patches.batches(5)) as batches:
        assert all(same(next(batches), patches.batch(step)) for step in range(5, 9))
    assert threading.active_count() == before


def test_ranks_share_the_batch_of_one_process(photos: Pack) -> None:
    options = {"patch_size": 32, "patches": 3, "seed": 4, "degradation": Degradation(0.5, 3.0, (30, 60))}
    whole = Patches(photos, 4, batch_size=8, **options).batch(2)
    parts = [Patches(photos, 4, batch_size=4, rank=rank, world=2, **options).batch(2) for rank in (0, 1)]
    assert torch.equal(whole.small, torch.cat([part.small for part in parts]))
    assert torch.equal(whole.large, torch.cat([part.large for part in parts]))
    assert whole.pictures == parts[0].pictures + parts[1].pictures


def test_rows_do_not_depend_on_each_other(photos: Pack) -> None:
    options = {"patch_size": 32, "degradation": Degradation(noise=3.0, jpeg=(30, 60))}
    one, many = (Patches(photos, 4, batch_size=size, **options) for size in (1, 6))
    assert torch.equal(many.batch(0).small, torch.cat([one.batch(step).small for step in range(6)]))


def test_patches_of_one_picture_follow_each_other_across_batches(tmp_path: Path) -> None:
    pack = packed(tmp_path / "p.pack", [noise(40, 40, i) for i in range(7)])
    patches = Patches(pack, 4, patch_size=32, batch_size=6, patches=4)
    names = [name for step in range(14) for name in patches.batch(step).pictures]
    runs = [names[i : i + 4] for i in range(0, len(names), 4)]
    assert all(len(set(run)) == 1 for run in runs)
    drawn = [run[0] for run in runs]
    # Each picture once before any comes again, each pass in another order.
    assert all(sorted(drawn[i : i + 7]) == sorted(pack.names) for i in (0, 7, 14))
    assert drawn[:7] != drawn[7:14]


def test_all_eight_orientations_are_drawn_and_alike_in_lr_and_hr(tmp_path: Path) -> None:
    picture = np.zeros((96, 96, 3), np.uint8)
    picture[:32, :32], picture[:32, -32:] = 255, 100
    batch = Patches(packed(tmp_path / "p.pack", [picture]), 2, patch_size=96, batch_size=64).batch(0)
    corners = [
        [tuple(p[y, x] for y, x in ((2, 2), (2, -2), (-2, 2), (-2, -2))) for p in levels(part)[..., 0]]
        for part in (batch.small, batch.large)
    ]
    assert corners[0] == corners[1]
    assert len(set(corners[0])) == 8


def test_lr_of_added_pictures_is_added_and_of_others_left_alone(photos: Pack) -> None:
    low_resolution(photos, 4)
    extra = noise(120, 128, 9)
    write_pack(photos.path, [("new", (9, 9), extra)])
    small = low_resolution(Pack(photos.path), 4)
    np.testing.assert_array_equal(small[3], shrink(extra, 4))
    # The order is that of the photographs, whatever the order in which LR was made.
    turned = low_resolution(Pack(photos.path).select([("new", (9, 9)), ("p1", (1, 1))]), 4)
    np.testing.assert_array_equal(turned[0], small[3])
    np.testing.assert_array_equal(turned[1], small[1])


def test_lr_of_a_pack_made_anew_is_made_anew(photos: Pack) -> None:
    low_resolution(photos, 4)
    photos.path.unlink()
    other = noise(88, 80, 33)
    write_pack(photos.path, [("p0", (5, 5), other)])
    np.testing.assert_array_equal(low_resolution(Pack(photos.path), 4)[0], shrink(other, 4))


def test_lr_goes_to_the_spare_folder_or_is_made_on_the_fly(photos: Pack, tmp_path: Path) -> None:
    expected = Patches(photos, 4, patch_size=32, batch_size=4).batch(0)
    beside = photos.path.with_name("p.pack.x4")
    beside.unlink()
    beside.mkdir()  # a place that cannot be written to, also for root
    spared = Pack(photos.path, spare=tmp_path / "run")
    assert same(Patches(spared, 4, patch_size=32, batch_size=4).batch(0), expected)
    assert (tmp_path / "run/p.pack.x4").is_file()
    assert low_resolution(photos, 4) is None
    assert same(Patches(photos, 4, patch_size=32, batch_size=4).batch(0), expected)


def test_pictures_that_are_broken_or_smaller_than_a_patch_are_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = [noise(40, 40, 0), noise(40, 100, 1), noise(100, 100, 2), noise(70, 64, 3)]
    pack = packed(tmp_path / "p.pack", pictures)
    assert set(Patches(pack, 4, patch_size=64, batch_size=12).batch(0).pictures) == {"p2", "p3"}
    assert "2 pictures are smaller than a patch" in capsys.readouterr().out
    files = filed(tmp_path / "in", pictures)
    (tmp_path / "in/p03.png").write_bytes(b"\x89PNG\r\n\x1a\n no more")
    patches = Patches(files, 4, patch_size=64, batch_size=12)
    assert {name for step in range(3) for name in patches.batch(step).pictures} == {"in/p02.png"}
    assert capsys.readouterr().out.count("p03.png") == 1


def test_what_cannot_be_drawn_from_is_refused(photos: Pack, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="multiple of the scale"):
        Patches(photos, 4, patch_size=66, batch_size=4)
    with pytest.raises(ValueError, match="at least 1"):
        Patches(photos, 4, patch_size=64, batch_size=0)
    for source in (photos, filed(tmp_path / "in", [noise(100, 100)])):
        with pytest.raises(ValueError, match="at least 512"):
            Patches(source, 4, patch_size=512, batch_size=4)


# ---- degradations: each does what its option says, and in the order blur, shrink, noise, JPEG


@pytest.fixture
def smooth(tmp_path: Path) -> list[np.ndarray]:
    return [waves(160 + i, 181, i) for i in range(3)]


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("sigma", [0.7, 2.5])
def test_blur_equals_blurring_the_whole_picture_before_shrinking(tmp_path: Path, scale: int, sigma: float) -> None:
    pictures = [noise(150, 161, i) for i in range(3)]
    pack = packed(tmp_path / "p.pack", pictures)
    patches = Patches(pack, scale, patch_size=64, batch_size=8, degradation=Degradation(blur=sigma))
    small = levels(patches.batch(0).small)
    sharp = levels(Patches(pack, scale, patch_size=64, batch_size=8).batch(0).small)
    for row in range(8):
        picture, rows, columns = place_of(patches, row)
        blurred = gaussian_filter(pictures[picture].astype(float), (sigma, sigma, 0), mode="reflect", truncate=4.0)
        whole = shrink(np.floor(blurred + 0.5).astype(np.uint8), scale).astype(int)
        # Away from the right and bottom border, where the picture is first cut to a multiple of the scale.
        height, width = (
            min(part.stop, side - 8) - part.start for part, side in zip((rows, columns), whole.shape[:2], strict=True)
        )
        expected = whole[rows, columns][:height, :width]
        ours = unturned(patches, row, small[row])[:height, :width]
        assert np.abs(ours - expected).max() <= 1
        assert np.abs(ours - unturned(patches, row, sharp[row])[:height, :width].astype(int)).mean() > 1


def test_noise_has_the_given_sigma_in_levels(tmp_path: Path) -> None:
    pack = packed(tmp_path / "p.pack", [np.full((130, 130, 3), 128, np.uint8)])
    for sigma in (3.0, 20.0):
        patches = Patches(pack, 2, patch_size=128, batch_size=16, degradation=Degradation(noise=sigma))
        batch = patches.batch(0)
        noisy = levels(batch.small).astype(float) - 128.0
        assert noisy.std() == pytest.approx(sigma, rel=0.02)
        assert abs(noisy.mean()) < 0.05 * sigma
        assert np.abs(np.corrcoef(noisy.reshape(16, -1)) - np.eye(16)).max() < 0.1  # rows have noise of their own
        assert np.abs(np.corrcoef(noisy.reshape(-1, 3).T) - np.eye(3)).max() < 0.05  # so have channels
        assert (levels(batch.large) == 128).all()


def saved(pixels: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling=2)
    return np.asarray(Image.open(file)).astype(int)


def test_jpeg_equals_saving_the_whole_lr_and_cutting_the_patch(tmp_path: Path, smooth: list[np.ndarray]) -> None:
    pack = packed(tmp_path / "p.pack", smooth)
    patches = Patches(pack, 2, patch_size=40, batch_size=12, degradation=Degradation(jpeg=(25,)))
    small = levels(patches.batch(0).small)
    phases = set()
    for row in range(12):
        picture, rows, columns = place_of(patches, row)
        lr = shrink(smooth[picture], 2)
        if rows.stop > lr.shape[0] // 16 * 16 or columns.stop > lr.shape[1] // 16 * 16:
            continue  # what pads the last blocks is the codec's affair
        phases.add((rows.start % 8, columns.start % 8))
        inner = slice(1, -1)  # chroma is interpolated with the next block's at the window's edge
        ours = unturned(patches, row, small[row])[inner, inner]
        np.testing.assert_array_equal(ours, saved(lr, 25)[rows, columns][inner, inner])
        assert np.abs(ours - lr[rows, columns][inner, inner].astype(int)).mean() > 0.5
    assert len(phases) > 3


def test_jpeg_qualities_are_drawn_evenly(tmp_path: Path, smooth: list[np.ndarray]) -> None:
    photos = packed(tmp_path / "p.pack", smooth)
    patches = Patches(photos, 4, patch_size=32, batch_size=300, degradation=Degradation(jpeg=(10, 50, 90)))
    drawn = [row.quality for row in patches.rows(0)]
    assert all(70 < drawn.count(quality) < 130 for quality in (10, 50, 90))
    coarse, fine = (
        Patches(photos, 4, patch_size=32, batch_size=8, degradation=Degradation(jpeg=(quality,))).batch(0).small
        for quality in (10, 90)
    )
    sharp = Patches(photos, 4, patch_size=32, batch_size=8).batch(0).small
    assert (coarse - sharp).abs().mean() > 2 * (fine - sharp).abs().mean()


def test_degradations_come_in_the_order_of_the_world(tmp_path: Path, smooth: list[np.ndarray]) -> None:
    # Pictures of one patch each, so that a row is a whole file and its blocks lie at multiples of 8.
    pack = packed(tmp_path / "p.pack", [picture[:128, :128] for picture in smooth])
    options = {"patch_size": 128, "batch_size": 8}
    every = Patches(pack, 4, degradation=Degradation(1.5, 12.0, (20,)), **options)
    blurred = Patches(pack, 4, degradation=Degradation(blur=1.5), **options)
    noisy = Patches(pack, 4, degradation=Degradation(1.5, 12.0), **options)
    # Noise lies on the blurred, small picture: it is as strong as asked for, which blur or shrinking would undo.
    added = levels(noisy.batch(0).small).astype(float) - levels(blurred.batch(0).small)
    assert added.std() == pytest.approx(12.0, rel=0.1)
    # JPEG comes last, over the noise: saving once more finds nothing left to quantise.
    for row, small in enumerate(levels(every.batch(0).small)):
        file = np.ascontiguousarray(unturned(every, row, small))
        assert np.abs(saved(file, 20) - file.astype(int)).mean() < 1.0
    assert (levels(every.batch(0).small).astype(float) - levels(blurred.batch(0).small)).std() > 6.0
    # Options change nothing but their own part: places and HR stay.
    assert torch.equal(every.batch(0).large, Patches(pack, 4, **options).batch(0).large)


def test_degradations_out_of_range_are_refused() -> None:
    for wrong in ({"blur": -1.0}, {"noise": float("nan")}, {"jpeg": (0,)}, {"jpeg": (50, 101)}):
        with pytest.raises(ValueError):
            Degradation(**wrong)
