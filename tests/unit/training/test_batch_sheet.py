from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.unit.training.pictures import noise
from training.batch_sheet import GAP, write_batch_sheet
from training.data import Batch


def test_lr_and_hr_of_each_row_stand_side_by_side_with_its_name(tmp_path: Path) -> None:
    large, small = np.stack([noise(128, 128, i) for i in range(3)]), np.stack([noise(32, 32, 9 + i) for i in range(3)])
    tensors = [torch.from_numpy(part).permute(0, 3, 1, 2).float() / 255 for part in (small, large)]
    names = ["a.png", "b.png", "a/very/" + "long/" * 40 + "name.png"]
    write_batch_sheet(Batch(*tensors, names), tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    for row in range(3):
        shown = [part[row].repeat(256 // part.shape[1], axis=0).repeat(256 // part.shape[1], axis=1)
                 for part in (small, large)]  # fmt: skip
        pair = np.concatenate(shown, axis=1)
        tops = [y for y in range(sheet.shape[0] - 256) for x in (GAP, GAP * 3 + 512)
                if x + 512 <= sheet.shape[1] and np.array_equal(sheet[y : y + 256, x : x + 512], pair)]  # fmt: skip
        assert len(tops) == 1
        assert (sheet[tops[0] + 256 : tops[0] + 272] < 128).any(), "no label"
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]


def test_a_sheet_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    batch = Batch(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 32, 32), ["a"])
    with pytest.raises(OSError):
        write_batch_sheet(batch, tmp_path / "nowhere/sheet.png")
