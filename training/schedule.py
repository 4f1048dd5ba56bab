"""How long a run takes, which stage it is in, and how fast it learns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Schedule:
    """``pretrain`` epochs of the generator alone and ``epochs`` with the whole loss, ``epoch_size`` steps each.

    With a ``time_limit`` (seconds) the run ends by then, if its epochs do not end before; stages and learning rate
    follow the share of the time that is used, so a short run is a whole one, only faster.
    """

    pretrain: int
    epochs: int
    epoch_size: int
    learning_rate: float
    kind: Literal["step", "cosine"] = "cosine"
    decay: float = 0.5
    """Factor of the step schedule, applied every ``decay_epochs``."""
    decay_epochs: int = 75
    time_limit: float | None = None

    @property
    def all_epochs(self) -> int:
        return self.pretrain + self.epochs

    @property
    def steps(self) -> int:
        return self.all_epochs * self.epoch_size

    def progress(self, step: int, seconds: float) -> float:
        """Share of the run that is done after ``step`` steps and ``seconds``, 0..1; 1 ends it."""
        by_time = seconds / self.time_limit if self.time_limit else 0.0
        return min(1.0, max(step / self.steps, by_time))

    def epoch(self, progress: float) -> int:
        """The epoch, from 0, that a run with this progress is in."""
        # Steps are whole numbers: 1e-9 keeps 3 / 10 x 10 from being 2.9999999999999996.
        return min(self.all_epochs - 1, math.floor(progress * self.all_epochs + 1e-9))

    def pretraining(self, progress: float) -> bool:
        """Whether the generator is still trained alone."""
        return self.epoch(progress) < self.pretrain

    def rate(self, progress: float) -> float:
        """The learning rate: constant between the steps of ``step``, or half a cosine down to zero."""
        if self.kind == "step":
            return self.learning_rate * self.decay ** (self.epoch(progress) // self.decay_epochs)
        return self.learning_rate * 0.5 * (1.0 + math.cos(math.pi * progress))
