from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.inference.errors import BrokenModelError
from app.inference.lpips import Lpips
from app.inference.registry import Registry, model_folders

DOG = Path(__file__).parents[3] / "app" / "web" / "examples" / "dog.jpg"


@pytest.fixture(scope="module")
def lpips() -> Lpips:
    return Lpips.load(threads=1)


@pytest.fixture(scope="module")
def dog() -> np.ndarray:
    return np.asarray(Image.open(DOG).convert("RGB"))[:160, :150]


def restored(picture: np.ndarray, scale: int) -> np.ndarray:
    image = Image.fromarray(picture)
    small = image.resize((image.width // scale, image.height // scale), Image.Resampling.BICUBIC)
    return np.asarray(small.resize(image.size, Image.Resampling.BICUBIC))


def test_further_from_the_original_is_a_larger_distance(lpips: Lpips, dog: np.ndarray) -> None:
    assert lpips.distance(dog, dog) == 0.0
    near, far = (lpips.distance(dog, restored(dog, scale)) for scale in (2, 4))
    assert 0.02 < near < far < 0.8
    assert lpips.distance(restored(dog, 4), dog) == pytest.approx(far, abs=1e-5)


def test_grey_is_three_equal_channels(lpips: Lpips, dog: np.ndarray) -> None:
    grey, dull = dog[:, :, 0], restored(dog[:, :, 0], 2)
    copied = (np.repeat(image[:, :, None], 3, axis=2) for image in (grey, dull))
    assert lpips.distance(grey, dull) == lpips.distance(*copied)


def test_what_cannot_be_compared_is_refused(lpips: Lpips, dog: np.ndarray) -> None:
    for first, second in ((dog, dog[1:]), (dog[:30], dog[:30]), (dog, dog.astype(np.float32))):
        with pytest.raises(ValueError, match="one size from 31 px"):
            lpips.distance(first, second)
    assert lpips.distance(dog[:31, :31], dog[1:32, 1:32]) > 0.0


def test_many_threads_get_what_one_gets(lpips: Lpips, dog: np.ndarray) -> None:
    expected = [lpips.distance(dog, restored(dog, scale)) for scale in (2, 3, 4)]
    measured: dict[int, float] = {}

    def measure(scale: int) -> None:
        measured[scale] = lpips.distance(dog, restored(dog, scale))

    threads = [threading.Thread(target=measure, args=(scale,)) for scale in (2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [measured[scale] for scale in (2, 3, 4)] == pytest.approx(expected, abs=1e-6)


def test_it_is_no_model(tmp_path: Path) -> None:
    assert all("lpips" not in manifest.name for manifest in Registry.load(model_folders(None)).models())
    with pytest.raises(BrokenModelError, match="cannot be read"):
        Lpips.load(tmp_path)
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(BrokenModelError, match="does not describe LPIPS"):
        Lpips.load(tmp_path)
