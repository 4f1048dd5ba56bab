from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.shared_data import BENCHMARKS, SHARED, needs_benchmarks
from tests.unit.training.pictures import waves
from training.near_duplicates import NearDuplicates
from training.photo_files import PhotoError, read_rgb


def changed(pixels: np.ndarray, how: str) -> np.ndarray:
    image = Image.fromarray(pixels)
    if how == "half the size":
        return np.asarray(image.resize((image.width // 2, image.height // 2)))
    if how == "jpeg 20":
        file = io.BytesIO()
        image.save(file, "JPEG", quality=20)
        return np.asarray(Image.open(file))
    if how == "brighter":
        return np.clip(pixels * 1.3 + 10, 0, 255).astype(np.uint8)
    if how == "mirrored":
        return pixels[:, ::-1]
    if how == "turned":
        return np.rot90(pixels)
    return np.asarray(image.convert("L").convert("RGB"))


@pytest.mark.parametrize("how", ["half the size", "jpeg 20", "brighter", "mirrored", "turned", "grey"])
def test_the_same_picture_is_found_whatever_was_done_to_it(tmp_path: Path, how: str) -> None:
    for seed in range(3):
        Image.fromarray(waves(160, 200, seed)).save(tmp_path / f"{seed}.png")
    known = NearDuplicates([tmp_path])
    assert known.like(np.ascontiguousarray(changed(waves(160, 200, 1), how))) == str(tmp_path / "1.png")
    assert known.like(waves(160, 200, 9)) is None


def test_a_check_against_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match="no picture to compare with"):
        NearDuplicates([tmp_path])


@needs_benchmarks
def test_the_one_picture_that_set5_took_from_bsds500_is_found() -> None:
    known = NearDuplicates([BENCHMARKS / "Set5/HR"])
    for path in sorted((SHARED / "photos/bsds500").glob("30*.jpg")):
        # 302003 of BSDS500's training set is Set5's "woman", cut and shrunk.
        assert (known.like(read_rgb(path)) is not None) == (path.name == "302003.jpg"), path.name
