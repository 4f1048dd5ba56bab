"""A small `fast` becomes a larger one that makes the same picture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from training.checkpoint import initial_weights, save_checkpoint, take_matching
from training.grow import grown, main
from training.networks import build
from training.networks.fast import Fast


@pytest.fixture
def small() -> Fast:
    torch.manual_seed(3)
    network = Fast(2, 5, 8)
    torch.nn.init.normal_(network.body[-1].weight, std=0.1)
    return network.eval()


@pytest.fixture
def picture() -> torch.Tensor:
    return torch.rand(2, 3, 17, 23, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_a_wider_network_makes_the_same_picture_and_can_learn_from_its_new_features(
    small: Fast, picture: torch.Tensor
) -> None:
    large = grown(small, layers=5, filters=13)
    assert large.options == {"scale": 2, "layers": 5, "filters": 13}
    torch.testing.assert_close(large(picture), small(picture), rtol=0, atol=1e-5)
    with torch.enable_grad():
        large(picture).square().mean().backward()
    assert large.body[-1].weight.grad[:, 8:].abs().min() > 0, "weights of 0 that stay 0 are no growth"
    assert torch.equal(grown(small, layers=5, filters=13).body[0].weight, large.body[0].weight), "not to be repeated"


@torch.no_grad()
def test_a_deeper_network_passes_on_what_is_positive(small: Fast, picture: torch.Tensor) -> None:
    """With large biases before the new layers nothing is negative there, and far from the borders all is as before."""
    small.body[2].bias.fill_(50)
    large = grown(small, layers=7, filters=10)
    assert large.receptive_field_radius == 7
    torch.testing.assert_close(large(picture), small(picture), rtol=0, atol=1e-3)


def test_what_is_no_growth_is_refused(small: Fast) -> None:
    with pytest.raises(ValueError, match="4 layers of 8 filters are no growth of 5 of 8"):
        grown(small, layers=4, filters=8)
    with pytest.raises(ValueError, match="2 layers has no place"):
        grown(Fast(2, 2, 8), layers=4, filters=8)


def test_the_command_takes_folders_and_checkpoints_and_writes_for_init(
    small: Fast, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "tiny"
    folder.mkdir()
    save_file(small.state_dict(), folder / "x2.safetensors")
    (folder / "manifest.json").write_text(json.dumps({"architecture": {"network": "fast", "layers": 5, "filters": 8}}))
    checkpoint = tmp_path / "a.pt"
    state = {"network": "fast", "network_options": small.options, "ema": small.state_dict()}
    save_checkpoint(checkpoint, state)
    for number, source in enumerate((folder, checkpoint)):
        target = tmp_path / f"{number}.pt"
        assert main([str(source), "--scale", "2", "--filters", "12", "--layers", "6", "-o", str(target)]) == 0
        assert "--gen-res-blocks 4 --gen-filters 12 --init" in capsys.readouterr().out
        assert take_matching(Fast(2, 6, 12), initial_weights(target, 2))[1] == []


def test_other_networks_and_folders_are_refused_with_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = build("dilated", scale=2, layers=4, filters=8)
    checkpoint = tmp_path / "a.pt"
    save_checkpoint(checkpoint, {"network": "dilated", "network_options": other.options, "ema": other.state_dict()})
    assert main([str(checkpoint), "--filters", "12", "-o", str(tmp_path / "b")]) == 1
    assert "of the kind dilated; only fast can grow" in capsys.readouterr().err
    assert main([str(tmp_path), "--filters", "12", "-o", str(tmp_path / "b")]) == 1
    assert "no model's folder" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()
