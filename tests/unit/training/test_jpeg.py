from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import features

from tests.unit.training.pictures import noise, waves
from training import jpeg
from training.degradation import gaussian_noise


@pytest.mark.skipif(not features.check_feature("libjpeg_turbo"), reason="Pillow is built on another libjpeg")
@pytest.mark.parametrize("quality", [1, 10, 49, 50, 75, 95, 100])
def test_batched_jpeg_equals_pillows_level_by_level(quality: int) -> None:
    checks = np.indices((64, 96)).sum(axis=0)[:, :, None].repeat(3, axis=2) % 2 * np.uint8([255, 0, 200])
    pictures = [waves(64, 96, 1), waves(64, 96, 2) // 16 * 16, noise(64, 96), checks.astype(np.uint8)]
    batch = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float()
    ours = jpeg.through_dct(batch, torch.full((4,), quality)).permute(0, 2, 3, 1).numpy()
    assert ours.dtype == np.float32
    for picture, mine in zip(pictures, ours, strict=True):
        np.testing.assert_array_equal(mine, jpeg.through_pillow(picture, quality))


def test_each_row_of_a_batch_has_its_own_quality() -> None:
    batch = torch.from_numpy(waves(32, 32)).permute(2, 0, 1)[None].float().repeat(3, 1, 1, 1)
    together = jpeg.through_dct(batch, torch.tensor([5, 40, 95]))
    for row, quality in enumerate((5, 40, 95)):
        assert torch.equal(together[row], jpeg.through_dct(batch[:1], torch.tensor([quality]))[0])
    errors = (together - batch).abs().mean(dim=(1, 2, 3))
    assert errors[0] > errors[1] > errors[2]


def test_sides_that_are_no_whole_units_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 16"):
        jpeg.through_dct(torch.zeros(1, 3, 16, 24), torch.tensor([50]))


def test_noise_is_normal_and_fixed_by_its_seed() -> None:
    seeds = torch.tensor([0, 1, 1 << 62])
    drawn = gaussian_noise(seeds, (3, 100, 100))
    assert torch.equal(drawn[1], gaussian_noise(seeds[1:2], (3, 100, 100))[0])
    shares = [(drawn.abs() < bound).float().mean().item() for bound in (1.0, 2.0, 3.0)]
    assert shares == pytest.approx([0.6827, 0.9545, 0.9973], abs=0.004)
    assert np.abs(np.corrcoef(drawn.flatten(1).numpy()) - np.eye(3)).max() < 0.02
    neighbours = drawn.flatten(1)
    assert abs((neighbours[:, 1:] * neighbours[:, :-1]).mean().item()) < 0.01
