"""Weights between two networks': what comes out, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from training import blend
from training.checkpoint import load_checkpoint, network_of, save_checkpoint
from training.networks import build


def state(seed: int, layers: int = 2) -> dict[str, Any]:
    """A checkpoint of an untrained network, with what only a run in progress needs."""
    torch.manual_seed(seed)
    chosen = {"scale": 2, "layers": layers, "filters": 8}
    weights = build("fast", **chosen).state_dict()
    return {
        "network": "fast", "network_options": chosen, "recipe": {"scale": 2}, "weights": weights, "ema": weights,
        "step": 7, "seconds": 3.0, "optimiser": {}, "random": {},
    }  # fmt: skip


def test_the_share_says_how_much_of_the_second_network_there_is() -> None:
    first, second = state(1), state(2)
    for share in (0.0, 0.25, 1.0):
        mixed = blend.blend(first, second["ema"], share, "second")
        for name, tensor in mixed["ema"].items():
            torch.testing.assert_close(tensor, (1 - share) * first["ema"][name] + share * second["ema"][name])


def test_a_blend_is_a_checkpoint_that_says_what_it_was_made_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = state(1), state(2)
    save_checkpoint(tmp_path / "gan.pt", first)
    save_file({key: value.half() for key, value in second["ema"].items()}, tmp_path / "faithful.safetensors")
    arguments = [str(tmp_path / "gan.pt"), str(tmp_path / "faithful.safetensors"), "0.5", "-o", str(tmp_path / "b.pt")]
    assert blend.main(arguments) == 0
    assert "0.5 x" in capsys.readouterr().out
    mixed = load_checkpoint(tmp_path / "b.pt")
    assert mixed["blends"] == [{"with": f"{tmp_path.name}/faithful.safetensors", "share": 0.5}]
    assert (mixed["step"], mixed["recipe"]) == (7, {"scale": 2})
    for name, tensor in network_of(mixed).state_dict().items():
        expected = (first["ema"][name] + second["ema"][name]) / 2
        torch.testing.assert_close(tensor, expected, atol=1e-3, rtol=1e-3)
    again = blend.blend(mixed, second["ema"], 0.1, "more")
    assert [each["share"] for each in again["blends"]] == [0.5, 0.1]


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_outside_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        blend.blend(state(1), state(2)["ema"], share, "second")


def test_another_network_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_checkpoint(tmp_path / "a.pt", state(1))
    save_checkpoint(tmp_path / "b.pt", state(1, layers=3))
    assert blend.main([str(tmp_path / "a.pt"), str(tmp_path / "b.pt"), "0.5", "-o", str(tmp_path / "c.pt")]) == 1
    assert "another network" in capsys.readouterr().err
    assert not (tmp_path / "c.pt").exists()
