from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save_file

from app.inference.errors import BrokenModelError
from app.inference.lpips import FOLDER
from app.inference.lpips import Lpips as ServedLpips
from model_export.cli import main
from model_export.export import EXAMPLES
from model_export.pictures import photo
from tests.shared_data import SHARED
from training.evaluation.lpips import Lpips
from training.resize import matlab_resize, shrink

ALEX = SHARED / "weights" / "lpips_alex.safetensors"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """LPIPS with an eighth of AlexNet's channels, random."""
    torch.manual_seed(7)
    tensors, before = {}, 3
    for index, (position, width, kernel) in enumerate([(0, 8, 11), (3, 24, 5), (6, 48, 3), (8, 32, 3), (10, 32, 3)]):
        tensors[f"features.{position}.weight"] = (
            torch.randn(width, before, kernel, kernel) / (before * kernel**2) ** 0.5
        )
        tensors[f"features.{position}.bias"] = torch.randn(width) / 10
        tensors[f"lin{index}.model.1.weight"] = torch.rand(1, width, 1, 1)
        before = width
    save_file(tensors, tmp_path / "small.safetensors")
    return tmp_path / "small.safetensors"


def pairs() -> list[tuple[np.ndarray, np.ndarray]]:
    dog = photo(EXAMPLES / "dog.jpg", 120)
    flat = np.full((31, 40, 3), 200, np.uint8)
    return [(dog, matlab_resize(shrink(dog, 4), 4)), (dog[:50, :37], dog[50:100, 37:74]), (flat, flat // 2)]


@pytest.mark.slow
def test_what_is_exported_measures_what_torch_measures(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "_lpips"
    assert main(["--lpips", str(weights), "-o", str(folder)]) == 0
    assert "parity with PyTorch" in capsys.readouterr().out
    served, torch_one = ServedLpips.load(folder), Lpips(weights)
    for first, second in pairs():
        assert served.distance(first, second) == pytest.approx(torch_one.of_pictures(first, second), abs=0.001)
    assert "Richard Zhang" in (folder / "LICENSE").read_text()
    torn = folder / json.loads((folder / "manifest.json").read_text())["files"]["uint8"]["file"]
    torn.write_bytes(torn.read_bytes()[:-1])
    with pytest.raises(BrokenModelError, match="is not the file that its manifest describes"):
        ServedLpips.load(folder)


def test_a_file_that_measures_something_else_is_not_written(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped = onnx.load(FOLDER / "lpips.onnx")
    monkeypatch.setattr("model_export.lpips._graph", lambda _: shipped)
    assert main(["--lpips", str(weights), "-o", str(tmp_path / "_lpips")]) == 1
    assert "differs from PyTorch" in capsys.readouterr().err
    assert not (tmp_path / "_lpips").exists()


@pytest.mark.skipif(not ALEX.is_file(), reason="../shared/weights is not at hand")
def test_the_shipped_file_is_the_published_lpips() -> None:
    served, torch_one = ServedLpips.load(), Lpips(ALEX)
    for first, second in pairs():
        assert served.distance(first, second) == pytest.approx(torch_one.of_pictures(first, second), abs=0.001)
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 6_000_000
