"""Checkpoints: one ``.pt`` file each, written atomically, holding all that a run needs to go on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training.networks import build


class CheckpointError(Exception):
    """A checkpoint that cannot be read or does not fit; the message says which file and why."""


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes ``state`` to ``path`` so that a reader, or a kill at any moment, sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    with partial.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The state saved at ``path``, on the CPU. Only tensors and plain values are unpickled (``weights_only``)."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} does not exist") from error
    except Exception as error:  # torch raises whatever its unpickler met
        raise CheckpointError(f"{path} is not a checkpoint of chetko-train: {error}") from error
    if not isinstance(state, dict) or "network" not in state:
        raise CheckpointError(f"{path} is not a checkpoint of chetko-train: it names no network")
    return state


def network_of(state: dict[str, Any], *, ema: bool = True) -> nn.Module:
    """The network of a loaded checkpoint with its averaged (``ema``) or its last weights, in eval mode."""
    network = build(state["network"], **state["network_options"])
    network.load_state_dict(state["ema" if ema else "weights"])
    return network.eval()


def take_matching(network: nn.Module, weights: dict[str, Tensor]) -> tuple[list[str], list[str]]:
    """Copies tensors of equal name and shape into ``network``; returns (taken, left out) names of ``weights``."""
    own = network.state_dict()
    taken = [name for name, tensor in weights.items() if name in own and own[name].shape == tensor.shape]
    network.load_state_dict({name: weights[name] for name in taken}, strict=False)
    return taken, [name for name in weights if name not in taken]
