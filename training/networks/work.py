"""How much a network computes."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def multiply_adds(network: nn.Module, edge: int = 8) -> int:
    """Multiply-adds of all convolutions per input pixel, counted while a picture of ``edge`` x ``edge`` runs.

    Fixed filters count too. On the meta device nothing is computed but shapes.
    """
    device = next(network.parameters(), torch.empty(0)).device
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, edge, edge, device=device))
    # A multiply-add is two of its operations.
    return round(counter.get_total_flops() / (2 * edge * edge))
