from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.unit.training.pictures import noise, packed
from training import crops, data
from training.crops import MappedCrops, ResidentCrops, Window
from training.data import Patches
from training.degradation import Degradation
from training.pack import Pack

CPU = torch.device("cpu")


@pytest.fixture
def photos(tmp_path: Path) -> Pack:
    return packed(tmp_path / "p.pack", [noise(31 + i, 45 - i, i) for i in range(5)])


@pytest.mark.parametrize("load_bytes", [1, 10_000, 1 << 30])
def test_windows_on_the_device_equal_windows_of_the_host(
    photos: Pack, load_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crops, "LOAD_BYTES", load_bytes)
    random = np.random.default_rng(0)
    windows = [
        Window(int(random.integers(5)), *map(int, random.integers(-50, 60, 2)), turn=turn) for turn in range(8)
    ] * 4 + [Window(2, 3, 4, turn) for turn in range(8)]
    mapped, resident = MappedCrops(photos, 4, CPU).cut(windows, 16), ResidentCrops(photos, 4, CPU).cut(windows, 16)
    assert torch.equal(mapped, resident)


def test_a_picture_goes_on_mirrored_beyond_its_last_multiple(photos: Pack) -> None:
    cut = MappedCrops(photos, 4, CPU).cut([Window(0, -2, 40)], 8)[0].numpy()
    whole = np.pad(photos[0][:28, :44], ((2, 4), (0, 4), (0, 0)), mode="symmetric")
    np.testing.assert_array_equal(cut, whole[:8, 40:48])


@pytest.mark.parametrize("degradation", [Degradation(), Degradation(1.0, 5.0, (40,)), Degradation(noise=3.0)])
def test_batches_of_a_pack_on_the_device_are_the_same(
    photos: Pack, degradation: Degradation, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"patch_size": 24, "batch_size": 8, "degradation": degradation}
    mapped = Patches(photos, 2, **options).batch(3)
    monkeypatch.setattr(data, "_fits", lambda *_: True)
    patches = Patches(photos, 2, **options)
    assert isinstance(patches._large, ResidentCrops)
    resident = patches.batch(3)
    assert torch.equal(mapped.small, resident.small)
    assert torch.equal(mapped.large, resident.large)
