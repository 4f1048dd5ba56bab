from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.unit.training.test_loop import scene
from training.checkpoint import save_checkpoint
from training.evaluation.cli import main
from training.evaluation.metrics import luma, psnr, shave
from training.evaluation.restore import restore_any
from training.networks.fast import Fast
from training.resize import matlab_resize, shrink

MODEL = Path(__file__).parents[3] / "app" / "models" / "fast"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two sharp pictures whose sizes no scale divides."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in (50, 51):
        Image.fromarray(scene(seed)[:157, :151]).save(folder / f"{seed}.png")
    return folder


def test_rows_are_means_of_the_protocol_and_ours_beats_bicubic(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(MODEL), "--data", str(photos), "--scale", "4", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    by_hand = []
    for seed in (50, 51):
        sharp = scene(seed)[:156, :148]
        large = matlab_resize(shrink(sharp, 4), 4.0)
        by_hand.append(psnr(shave(luma(large), 4), shave(luma(sharp), 4)))
    assert rows["bicubic"]["photos"]["psnr"] == pytest.approx(float(np.mean(by_hand)), abs=1e-4)
    assert rows["fast"]["photos"]["psnr"] > rows["bicubic"]["photos"]["psnr"]
    assert rows["fast"]["photos"]["ssim"] > rows["bicubic"]["photos"]["ssim"]


def test_a_checkpoint_is_measured_too(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = Fast(2, 2, 4)  # untrained: exactly nearest neighbour
    state = {"network": "fast", "network_options": network.options, "ema": network.state_dict()}
    save_checkpoint(tmp_path / "mine" / "last.pt", state)
    arguments = [str(tmp_path / "mine" / "last.pt"), "--data", str(photos), "--json"]
    assert main([*arguments, "--scale", "2"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert 10 < rows["mine"]["photos"]["psnr"] < rows["bicubic"]["photos"]["psnr"]
    assert main([*arguments, "--scale", "4"]) == 1
    assert "enlarges x2, not x4" in capsys.readouterr().err


def test_a_bicubic_row_that_is_not_the_published_one_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("HR", "LR_x4"):
        (tmp_path / "Set5" / name).mkdir(parents=True)
    sharp = scene(60)
    Image.fromarray(sharp).save(tmp_path / "Set5/HR/001.png")
    Image.fromarray(shrink(sharp, 4)).save(tmp_path / "Set5/LR_x4/001.png")
    assert main(["--data", str(tmp_path / "Set5")]) == 3
    captured = capsys.readouterr()
    assert "the protocol is off" in captured.err
    assert "bicubic" in captured.out
    (tmp_path / "Set5/LR_x4/001.png").unlink()
    assert main(["--data", str(tmp_path / "Set5")]) == 1
    assert "001.png is missing" in capsys.readouterr().err


def test_what_is_missing_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(tmp_path)]) == 1
    assert "holds no picture" in capsys.readouterr().err
    assert main([str(tmp_path / "no-model"), "--data", str(tmp_path)]) == 1
    assert "does not exist" in capsys.readouterr().err


def test_grey_is_restored_as_three_equal_channels_and_their_mean() -> None:
    grey = scene(70)[:, :, 0]

    def spread(image: np.ndarray) -> np.ndarray:
        assert (image == image[:, :, :1]).all()
        return np.stack([image[:, :, 0], image[:, :, 0] // 2, image[:, :, 0] // 4], axis=2)

    expected = np.floor(spread(np.repeat(grey[:, :, None], 3, 2)).astype(float).mean(axis=2) + 0.5)
    np.testing.assert_allclose(restore_any(spread, grey), expected, atol=1)
    assert restore_any(spread, grey).ndim == 2
    assert math.isfinite(psnr(luma(grey), luma(restore_any(spread, grey))))
