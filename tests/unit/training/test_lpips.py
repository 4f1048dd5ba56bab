from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.shared_data import BENCHMARKS, SHARED, needs_benchmarks
from tests.unit.training.test_loop import scene
from training.evaluation.datasets import benchmark_pairs
from training.evaluation.lpips import Lpips, find_lpips_weights
from training.evaluation.restore import bicubic_restorer, mean_scores
from training.weights import WeightsError

ALEX = SHARED / "weights" / "lpips_alex.safetensors"


def alexnet() -> nn.Sequential:
    """The convolutional part of AlexNet as torchvision stacks it, with an eighth of its channels."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(8, 24, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(24, 48, 3, 1, 1), nn.ReLU(), nn.Conv2d(48, 32, 3, 1, 1), nn.ReLU(),
        nn.Conv2d(32, 32, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(3, 2),
    )  # fmt: skip


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, nn.Sequential, list[Tensor]]:
    """(file, the network in it, the weights per channel of its five layers), random."""
    torch.manual_seed(5)
    network = alexnet()
    linear = [torch.rand(1, channels, 1, 1) for channels in (8, 24, 48, 32, 32)]
    tensors = {f"features.{name}": tensor for name, tensor in network.state_dict().items()}
    tensors |= {f"lin{index}.model.1.weight": tensor for index, tensor in enumerate(linear)}
    save_file(tensors, tmp_path / "lpips.safetensors")
    return tmp_path / "lpips.safetensors", network, linear


@torch.no_grad()
def test_against_the_papers_equation_layer_by_layer(made: tuple[Path, nn.Sequential, list[Tensor]]) -> None:
    path, network, linear = made
    first, second = torch.rand(2, 3, 3, 70, 50)
    shift, spread = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    expected = torch.zeros(3)
    for index, end in enumerate((2, 5, 8, 10, 12)):  # after each ReLU
        units = [
            F.normalize(network[:end]((2 * image - 1 - shift.view(3, 1, 1)) / spread.view(3, 1, 1)), dim=1)
            for image in (first, second)
        ]
        expected += ((units[0] - units[1]) ** 2 * linear[index]).sum(dim=1).mean(dim=(1, 2))
    torch.testing.assert_close(Lpips(path)(first, second), expected)


def test_what_a_distance_is(made: tuple[Path, nn.Sequential, list[Tensor]]) -> None:
    lpips = Lpips(made[0])
    sharp = scene(1, 64)
    dull, duller = (np.round(sharp * share + 128 * (1 - share)).astype(np.uint8) for share in (0.8, 0.5))
    assert lpips.of_pictures(sharp, sharp) == 0.0
    assert 0 < lpips.of_pictures(sharp, dull) < lpips.of_pictures(sharp, duller)
    assert lpips.of_pictures(sharp, dull) == pytest.approx(lpips.of_pictures(dull, sharp), rel=1e-5)
    grey = sharp[:, :, 0]
    copied = [np.repeat(image[:, :, None], 3, axis=2) for image in (grey, grey // 2)]
    assert lpips.of_pictures(grey, grey // 2) == lpips.of_pictures(*copied)
    assert list(lpips.parameters()) == []
    assert lpips.state_dict() == {}
    with torch.autocast("cpu", torch.bfloat16):
        assert lpips.of_pictures(sharp, dull) == lpips.of_pictures(sharp, dull)
        assert lpips(torch.rand(1, 3, 40, 40), torch.rand(1, 3, 40, 40)).dtype == torch.float32


def test_sizes_that_cannot_be_compared(made: tuple[Path, nn.Sequential, list[Tensor]]) -> None:
    lpips = Lpips(made[0])
    assert torch.isfinite(lpips(torch.rand(1, 3, 31, 31), torch.rand(1, 3, 31, 31))).all()
    for other in ((1, 3, 30, 31), (1, 3, 40, 40)):
        with pytest.raises(ValueError, match="equal sizes from 31 px"):
            lpips(torch.rand(1, 3, 30, 31), torch.rand(other))


def test_files_that_are_something_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_file({"features.0.weight": torch.zeros(8, 3, 11, 11)}, tmp_path / "part.safetensors")
    (tmp_path / "torn.safetensors").write_bytes(b"torn")
    for name in ("part.safetensors", "torn.safetensors", "missing.safetensors"):
        with pytest.raises(WeightsError, match=name):
            Lpips(tmp_path / name)
    monkeypatch.setattr("training.weights.weight_folders", lambda: [tmp_path])
    assert find_lpips_weights() is None
    (tmp_path / "lpips_alex.safetensors").touch()
    assert find_lpips_weights() == tmp_path / "lpips_alex.safetensors"
    with pytest.raises(WeightsError, match="does not exist"):
        find_lpips_weights(tmp_path / "missing.safetensors")


@needs_benchmarks
@pytest.mark.skipif(not ALEX.is_file(), reason="../shared/weights is not at hand")
def test_bicubic_on_set5_is_the_published_figure() -> None:
    row = mean_scores(bicubic_restorer(4), benchmark_pairs(BENCHMARKS / "Set5", 4), 4, lpips=Lpips(ALEX))
    assert row["lpips"] == pytest.approx(0.340, abs=0.002)
