from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.unit.training.scenes import scene
from training.evaluation.classical import CLASSICAL, kim
from training.evaluation.classical.luma import WEIGHTS, Patches, back_project, resize
from training.evaluation.classical.self_similar import SELFEX, grow
from training.evaluation.methods import method_named
from training.evaluation.restore import bicubic_restorer, scores
from training.resize import matlab_resize, shrink

ROOT = Path(__file__).resolve().parents[3]


def luma_of(picture: np.ndarray) -> np.ndarray:
    return 16 + picture.astype(np.float32) @ WEIGHTS


@pytest.mark.parametrize("name", CLASSICAL)
def test_only_what_is_as_good_as_the_paper_bears_its_name_alone(name: str) -> None:
    """By what ``chetko-evaluate NAME --data ../shared/benchmarks/Set5 --scale 4 -o docs/classical/...`` measured."""
    means = json.loads((ROOT / f"docs/classical/{name}-Set5-x4.json").read_text())["means"]
    (psnr,) = [row["psnr"] for row in means if row["method"] == name]
    entry = CLASSICAL[name]
    assert entry.title.startswith(entry.paper)
    assert entry.title != entry.paper or abs(psnr - entry.published) <= 0.3


@pytest.mark.parametrize("name", CLASSICAL)
@pytest.mark.parametrize("scale", [2, 4])
def test_each_method_is_better_than_bicubic(name: str, scale: int) -> None:
    sharp = scene(80)[:72, :64]
    small = shrink(sharp, scale)
    method = method_named(name, scale)
    ours = scores(method.restore, small, sharp, scale)["psnr"]
    theirs = scores(bicubic_restorer(scale), small, sharp, scale)["psnr"]
    assert ours > theirs + 0.1
    assert method.restore(small).shape == (72, 64, 3)


def test_resampling_is_matlabs_and_any_size_will_do() -> None:
    picture = scene(81)[:60, :44]
    plane = picture[:, :, 1].astype(np.float32)
    rounded = matlab_resize(picture[:, :, 1], 2.0)
    np.testing.assert_allclose(np.clip(resize(plane, (120, 88)), 0, 255), rounded, atol=2)
    assert resize(plane, (37, 71)).shape == (37, 71)
    np.testing.assert_allclose(resize(np.full((20, 20), 7.0, np.float32), (33, 9)), 7.0, atol=1e-4)


def test_back_projection_ends_at_what_shrinks_to_the_given_picture() -> None:
    small = luma_of(shrink(scene(82)[:80, :80], 4))
    rough = resize(small, (80, 80))
    before = np.abs(resize(rough, small.shape) - small).mean()
    after = np.abs(resize(back_project(rough, small), small.shape) - small).mean()
    assert after < before / 10


def test_patches_that_are_taken_and_put_back_are_the_plane() -> None:
    plane = luma_of(scene(83)[:41, :30])
    for size, stride in ((5, 1), (5, 2), (9, 4)):
        places = Patches(plane.shape, size, stride)
        taken = places.of(plane)
        assert taken.shape == (len(places), size * size)
        np.testing.assert_allclose(places.mean(taken), plane, rtol=1e-5)
    weights = np.zeros((len(places), 1), np.float32)
    weights[0] = 1
    assert (places.mean(taken, weights)[9:, 9:] == 0).all()


def test_a_flat_picture_stays_flat() -> None:
    flat = np.full((24, 24, 3), 90, np.uint8)
    for name in CLASSICAL:
        assert np.abs(method_named(name, 2).restore(flat).astype(int) - 90).max() <= 1


def test_examples_sharpen_edges() -> None:
    """Diagonal stripes: what the picture shows of them makes them steeper than interpolation does."""
    y, x = np.mgrid[:48, :48]
    small = (128 + 80 * np.sign(np.sin((x + y) / 5.0))).astype(np.float32)
    grown = grow(small, 2, SELFEX)
    rough = resize(small, (96, 96))
    assert np.abs(np.diff(grown, axis=1)).max() > np.abs(np.diff(rough, axis=1)).max()


def test_kernel_regression_learns_what_it_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kim, "BASIS", 60)
    pairs = []
    for seed in range(84, 90):
        sharp = scene(seed)[:96, :96]
        pairs.append((resize(luma_of(shrink(sharp, 2)), (96, 96)), luma_of(sharp)))
    learned = kim.learn(pairs, 2)
    assert learned["coefficients"].shape == (60, kim.OUT[2] ** 2)
    unseen = scene(91)[:96, :96]
    small = luma_of(shrink(unseen, 2))
    error = [
        float(((plane - luma_of(unseen)) ** 2).mean())
        for plane in (kim._enlarge(small, 2, learned=learned), resize(small, (96, 96)))
    ]
    assert error[0] < error[1]
