"""Means of an epoch and the watch over NaN, kept on the device: reading makes the host wait, adding does not."""

from __future__ import annotations

import torch
from torch import Tensor

from training.distributed import Workers


class Meter:
    """Sums named scalars; ``read`` gives their means since the last reading."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, **values: Tensor) -> None:
        for name, value in values.items():
            seen = self._counts.get(name, 0)
            self._sums[name] = self._sums[name] + value.detach() if seen else value.detach().clone()
            self._counts[name] = seen + 1

    def read(self, workers: Workers) -> dict[str, float]:
        """The means over all processes, by name. Waits for the device."""
        names = sorted(self._sums)
        means = torch.stack([self._sums[name].float() / self._counts[name] for name in names])
        self._sums.clear()
        self._counts.clear()
        return dict(zip(names, workers.mean(means).tolist(), strict=True))


class Watch:
    """Remembers the first step whose loss was NaN or infinite."""

    def __init__(self, device: torch.device) -> None:
        self._first = torch.full((), -1, dtype=torch.long, device=device)

    def look(self, loss: Tensor, step: int) -> None:
        bad = ~torch.isfinite(loss.detach()) & (self._first < 0)
        self._first = torch.where(bad, step, self._first)

    def first_bad(self) -> int | None:
        """That step, or None. Waits for the device."""
        first = int(self._first.item())
        return None if first < 0 else first
