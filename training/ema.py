"""Exponential moving average of weights."""

from __future__ import annotations

import copy

import torch
from torch import nn


class Ema:
    """Keeps ``average = decay * average + (1 - decay) * weights``; what is measured and shipped.

    Early on the decay is lower, (1 + step) / (10 + step), so that the random start is forgotten quickly.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        decay = min(self.decay, (1.0 + step) / (10.0 + step))
        averages, weights = list(self.network.parameters()), list(network.parameters())
        torch._foreach_lerp_(averages, weights, 1.0 - decay)
        for average, buffer in zip(self.network.buffers(), network.buffers(), strict=True):
            average.copy_(buffer)
