"""Checkpoints: one ``.pt`` file each, written atomically, holding all that a run needs to go on."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.networks import build

LAST, BEST = "last.pt", "best.pt"
_NUMBERED = re.compile(r"step-\d{8,}\.pt")


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


def keep_checkpoint(folder: Path, state: dict[str, Any], *, best: bool, keep: int) -> None:
    """Saves ``state`` as ``step-NNNNNNNN.pt`` and ``last.pt`` (and ``best.pt``); ``keep`` numbered ones stay.

    The three names are links to one file where the file system has links.
    """
    numbered = folder / f"step-{state['step']:08}.pt"
    save_checkpoint(numbered, state)
    for name in (LAST, BEST) if best else (LAST,):
        _point(folder / name, numbered, state)
    for old in sorted(path for path in folder.iterdir() if _NUMBERED.fullmatch(path.name))[:-keep]:
        old.unlink()


def _point(path: Path, target: Path, state: dict[str, Any]) -> None:
    partial = path.with_name(path.name + ".part")
    partial.unlink(missing_ok=True)
    try:
        partial.hardlink_to(target)
    except OSError:  # a file system without links
        save_checkpoint(path, state)
    else:
        partial.replace(path)


def of_a_run(path: Path) -> bool:
    """Whether ``path`` has a name that the checkpoints of every run have, so that only its folder tells which."""
    return path.name in (LAST, BEST) or _NUMBERED.fullmatch(path.name) is not None


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


def initial_weights(path: Path, scale: int) -> dict[str, Tensor]:
    """Weights to start from: of a checkpoint (its averaged ones), a ``.safetensors`` file, or a model's folder.

    A folder, such as ``app/models/fast``, is a shipped or exported model: its ``x<scale>.safetensors`` is taken, or
    that of its other scale. Raises CheckpointError.
    """
    if path.is_dir():
        found = [path / f"x{scale}.safetensors", *sorted(path.glob("x*.safetensors"))]
        path = next((each for each in found if each.is_file()), path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.is_dir():
        raise CheckpointError(f"{path} holds no x{scale}.safetensors, the file with a model's weights for training")
    return dict(load_checkpoint(path)["ema"])


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError  # noqa: PLC0415 - only this needs it
    from safetensors.torch import load_file  # noqa: PLC0415

    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in weights.items()}


def take_matching(network: nn.Module, weights: dict[str, Tensor]) -> tuple[list[str], list[str]]:
    """Copies tensors of equal name and shape into ``network``; returns (taken, left out) names of ``weights``.

    Of a network for another scale the last layer before a sub-pixel shuffle fits too: see ``_of_scale``.
    """
    own = network.state_dict()
    weights = {name: _of_scale(network, name, tensor) for name, tensor in weights.items()}
    taken = [name for name, tensor in weights.items() if name in own and own[name].shape == tensor.shape]
    network.load_state_dict({name: weights[name] for name in taken}, strict=False)
    return taken, [name for name in weights if name not in taken]


def _of_scale(network: nn.Module, name: str, tensor: Tensor) -> Tensor:
    """``tensor``, or, where it makes the sub-pixels of another scale, what makes this one's from the same features.

    (colours * s^2, ...) -> (colours * S^2, ...): x4 begins as x2's picture with each pixel repeated, x2 as the means of
    x4's. Both are a picture already, so what the layers before have learned is not spoiled by a tail that has to begin.
    """
    layer = getattr(network, "subpixel_layer", None)
    if layer is None or name.rpartition(".")[0] != layer:
        return tensor
    scale = int(network.scale)  # type: ignore[arg-type]
    colours = network.get_parameter(name).shape[0] // scale**2
    other = math.isqrt(len(tensor) // colours)
    if other == scale or len(tensor) != colours * other**2:
        return tensor
    phases = tensor.reshape(colours, other, other, -1).movedim(-1, 1)
    phases = F.interpolate(phases, size=(scale, scale), mode="area").movedim(1, -1)
    return phases.reshape(colours * scale**2, *tensor.shape[1:])
