from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import sparse_encode

from tests.unit.training.scenes import scene
from training.evaluation.classical import CLASSICAL, kim, scsr
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
    learned = kim.learn([(resize(small, (96, 96)), sharp) for small, sharp in pairs(range(84, 90))], 2)
    assert learned["coefficients"].shape == (60, kim.OUT[2] ** 2)
    assert_better_than_bicubic(lambda small: kim._enlarge(small, 2, learned=learned))


def test_a_dictionary_learns_what_it_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scsr, "ATOMS", 40)
    monkeypatch.setattr(scsr, "LEARNED_ROUNDS", 2)
    learned = scsr.learn(pairs(range(84, 90)), 2)
    assert learned["seen"].shape == (40, 4 * 6 * 6)
    assert learned["meant"].shape == (40, 6 * 6)
    assert_better_than_bicubic(lambda small: scsr._enlarge(small, 2, learned=learned))


def test_sparse_codes_are_the_librarys() -> None:
    random = np.random.default_rng(0)
    seen, patches = (random.normal(size=(number, 16)) for number in (24, 50))
    seen, patches = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (seen, patches))
    ours = scsr._codes(patches.astype(np.float32), seen.astype(np.float32))
    theirs = sparse_encode(patches, seen, algorithm="lasso_cd", alpha=scsr.SPARSITY, max_iter=2000)
    np.testing.assert_allclose(ours, theirs, atol=0.02)
    assert 0 < (np.abs(ours) > 1e-6).mean() < 0.6


def pairs(seeds: Iterable[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """(small, sharp) planes, half as large and 96 x 96."""
    scenes = [scene(seed)[:96, :96] for seed in seeds]
    return [(luma_of(shrink(sharp, 2)), luma_of(sharp)) for sharp in scenes]


def assert_better_than_bicubic(enlarge: Callable[[np.ndarray], np.ndarray]) -> None:
    ((small, sharp),) = pairs([91])
    error, bicubic = (float(((plane - sharp) ** 2).mean()) for plane in (enlarge(small), resize(small, sharp.shape)))
    assert error < bicubic
