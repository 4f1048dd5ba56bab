"""The networks, one file each. A new one is a file here and a line in ``NETWORKS``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from training.networks.fast import Fast

NETWORKS: dict[str, Callable[..., nn.Module]] = {"fast": Fast}


def build(name: str, **options: Any) -> nn.Module:
    """The network ``name`` with random weights.

    Raises ``KeyError`` with a sentence that lists the known names.
    """
    if name not in NETWORKS:
        raise KeyError(f"there is no network {name!r}; choose one of: {', '.join(sorted(NETWORKS))}")
    return NETWORKS[name](**options)
