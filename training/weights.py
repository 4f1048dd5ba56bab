"""Finds the weights of ready-made networks (VGG, LPIPS) on this machine: other people's files, never shipped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch


class WeightsError(Exception):
    """A weight file that is missing, damaged or of another network; the message says which and what is taken."""


def weight_folders() -> list[Path]:
    """Where weight files are looked for, first first: torch hub's cache, ``~/.cache/chetko``, ``../shared/weights``.

    The last is beside the checkout, as in this project's tests.
    """
    return [
        Path(torch.hub.get_dir()) / "checkpoints",
        Path.home() / ".cache" / "chetko",
        Path(__file__).resolve().parents[2] / "shared" / "weights",
    ]


def find_weights(names: Sequence[str], given: Path | None) -> Path | None:
    """The file ``given``, or else the first of ``names`` (the best first) that lies in any of the folders, or None.

    Raises ``WeightsError`` when ``given`` is not a file: what was asked for by name is not replaced silently.
    """
    if given is not None:
        if not given.is_file():
            raise WeightsError(f"{given} does not exist or is not a file")
        return given
    places = (folder / name for name in names for folder in weight_folders())
    return next((path for path in places if path.is_file()), None)
