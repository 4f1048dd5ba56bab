"""The training loop, on one page: draw, forward, loss, backward, step, average, report, save."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from training.checkpoint import save_checkpoint
from training.data import Patches, to_tensor
from training.ema import Ema


class DivergedError(Exception):
    """The loss became NaN or infinite; the message names the step and the last good checkpoint."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast: ``steps`` in all (or ``time_limit`` seconds, whichever ends first), cosine to zero."""

    steps: int
    learning_rate: float
    time_limit: float | None = None

    def progress(self, step: int, seconds: float) -> float:
        """Share of the run that is done, 0..1; with a time limit the schedule fits itself to it."""
        by_time = seconds / self.time_limit if self.time_limit else 0.0
        return min(1.0, max(step / self.steps, by_time))

    def rate(self, progress: float) -> float:
        return self.learning_rate * 0.5 * (1.0 + math.cos(math.pi * progress))


def train(
    network: nn.Module,
    patches: Patches,
    schedule: Schedule,
    folder: Path,
    *,
    describe: dict[str, Any],
    device: torch.device,
    epoch_size: int = 500,
    ema_decay: float = 0.999,
    bf16: bool = True,
    resume: dict[str, Any] | None = None,
    validate: Callable[[nn.Module], float] | None = None,
    say: Callable[[str], None] = print,
) -> float:
    """Trains ``network`` with L1 and Adam; leaves ``last.pt`` and ``best.pt`` (by validation PSNR) in ``folder``.

    ``describe`` (network name and options, recipe) goes into every checkpoint. ``resume`` is a loaded ``last.pt``;
    from a fixed seed and a schedule in steps, a CPU run that was killed and resumed gives the same weights as one
    that was not. Returns the last validation PSNR in dB (NaN without ``validate``).
    Raises ``DivergedError`` when the loss is not finite.
    """
    network.to(device, memory_format=torch.channels_last).train()
    optimiser = torch.optim.Adam(network.parameters(), lr=schedule.learning_rate, betas=(0.9, 0.99))
    ema = Ema(network, ema_decay)
    step, spent, best = 0, 0.0, -math.inf
    if resume is not None:
        network.load_state_dict(resume["weights"])
        ema.network.load_state_dict(resume["ema"])
        optimiser.load_state_dict(resume["optimiser"])
        step, spent, best = resume["step"], resume["seconds"], resume["best"]
    started = time.monotonic() - spent
    quality = math.nan

    done = schedule.progress(step, spent)
    while done < 1.0:
        small, large = (to_tensor(part, device) for part in patches.batch(step))
        for group in optimiser.param_groups:
            group["lr"] = schedule.rate(done)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            enlarged = network(small)
        loss = F.l1_loss(enlarged.float(), large)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        ema.update(network, step)
        step += 1
        # Reading the loss makes the host wait for the device, so it is read once an epoch: a NaN stays a NaN.
        spent = time.monotonic() - started
        done = schedule.progress(step, spent)
        if step % epoch_size and done < 1.0:
            continue

        value = loss.item()
        if not math.isfinite(value):
            raise DivergedError(
                f"the loss is {value} at step {step}; the last good checkpoint is {folder / 'last.pt'}; "
                f"go on from it with a lower --learning-rate"
            )
        quality = validate(ema.network) if validate else math.nan
        state = describe | {
            "weights": network.state_dict(), "ema": ema.network.state_dict(), "optimiser": optimiser.state_dict(),
            "step": step, "seconds": spent, "best": max(best, quality) if validate else best, "psnr": quality,
        }  # fmt: skip
        if not validate or quality > best:
            best = quality if validate else best
            save_checkpoint(folder / "best.pt", state)
        save_checkpoint(folder / "last.pt", state)
        left = spent / done - spent
        _record(folder / "results.csv", step=step, seconds=round(spent, 1), loss=value, psnr=quality)
        say(
            f"step {step:>7}  loss {value:.5f}  {f'PSNR {quality:.3f} dB  ' if validate else ''}"
            f"{step * patches.batch_size / spent:6.1f} patches/s  {left / 60:5.1f} min left"
        )
    return quality


def _record(path: Path, **row: Any) -> None:
    fresh = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(row))
        if fresh:
            writer.writeheader()
        writer.writerow(row)
