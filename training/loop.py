"""The training loop, top to bottom: draw, restore, compare, step, judge, average, report, save.

With a discriminator it is SRGAN (Ledig et al., CVPR 2017): first the generator alone on pixels, then the game of
eq. 2, with loss = content weight x content + adversarial weight x adversarial (eq. 3).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor, nn

from training.checkpoint import LAST, keep_checkpoint
from training.data import Batch, Patches
from training.distributed import Workers
from training.ema import Ema
from training.hardware import Hardware
from training.journal import Journal
from training.losses.adversarial import discriminator_accuracy, discriminator_loss, generator_loss
from training.schedule import Schedule

# A GPU is asked this seldom whether the loss is still finite: each question makes the host wait for it.
_LOOK_EVERY = 50


class DivergedError(Exception):
    """The loss became NaN or infinite; the message names step, pictures and the last good checkpoint."""


@dataclass(frozen=True)
class Losses:
    """What is minimised."""

    pixels: nn.Module
    """(SR, HR) -> scalar: of the generator alone."""
    content: nn.Module
    """(SR, HR) -> scalar: of the stage after that."""
    content_weight: float = 1.0
    adversarial_weight: float = 0.0
    adversarial: Literal["vanilla", "relativistic"] = "vanilla"


def train(
    generator: nn.Module,
    discriminator: nn.Module | None,
    patches: Patches,
    losses: Losses,
    schedule: Schedule,
    folder: Path,
    *,
    hardware: Hardware,
    journal: Journal,
    describe: dict[str, Any],
    workers: Workers | None = None,
    ema_decay: float = 0.999,
    clip: float = 0.0,
    keep: int = 3,
    resume: dict[str, Any] | None = None,
    measure: Callable[[nn.Module], dict[str, float]] | None = None,
    sample: Callable[[nn.Module], Image.Image] | None = None,
) -> dict[str, float]:
    """Trains ``generator`` (against ``discriminator``, where there is one) and leaves its checkpoints in ``folder``.

    ``describe`` goes into every checkpoint. ``resume`` is a loaded ``last.pt``: from a fixed seed and a schedule in
    steps, a run on a CPU that was killed and resumed gives the same weights as one that was not. ``measure`` and
    ``sample`` get the averaged network after each epoch; ``psnr`` chooses ``best.pt``, and ``lpips`` (else the
    newest) once a discriminator is in the game. Returns the last measurements. Raises ``DivergedError``.
    """
    workers = workers or Workers()
    device, memory = hardware.device, hardware.memory_format
    generator.to(device, memory_format=memory).train()
    optimiser = torch.optim.Adam(generator.parameters(), lr=schedule.learning_rate, betas=(0.9, 0.99))
    judges = None
    if discriminator is not None:
        discriminator.to(device, memory_format=memory).train()
        judges = torch.optim.Adam(discriminator.parameters(), lr=schedule.learning_rate, betas=(0.9, 0.99))
    ema = Ema(generator, ema_decay)
    step, spent, best = 0, 0.0, {}
    if resume is not None:
        step, spent, best = _restore(resume, generator, discriminator, ema, optimiser, judges)
    workers.share([generator, ema.network, *([discriminator] if discriminator else [])])
    restore = torch.compile(generator) if hardware.compile else generator
    judge = torch.compile(discriminator) if hardware.compile and discriminator else discriminator
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=hardware.bf16)

    meter, watch = Meter(device), Watch(device)
    measured: dict[str, float] = {}
    began, epoch_began, epoch_step = time.monotonic() - spent, time.monotonic(), step
    done = schedule.progress(step, workers.clock(spent, device) if schedule.time_limit else spent)
    with Ahead(patches) as ahead:
        while done < 1.0:
            batch = ahead.batch(step)
            adversarial = judge is not None and not schedule.pretraining(done)
            _set_rate((optimiser, judges), schedule.rate(done))

            with autocast:
                restored = restore(batch.small)
            restored = restored.float()
            if schedule.pretraining(done):
                loss = losses.pixels(restored, batch.large)
            else:
                content = losses.content(restored, batch.large)
                loss = losses.content_weight * content
                meter.add(content=content)
            if adversarial:
                # The judge stands still here; gradients flow through it to the picture only.
                discriminator.requires_grad_(False)
                with autocast:
                    fake = judge(restored)
                    real = judge(batch.large) if losses.adversarial == "relativistic" else None
                fooled = generator_loss(losses.adversarial, fake, real)
                loss = loss + losses.adversarial_weight * fooled
                meter.add(adversarial=fooled)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            workers.average_gradients(generator)
            if clip:
                nn.utils.clip_grad_norm_(generator.parameters(), clip)
            optimiser.step()
            ema.update(generator, step)

            if adversarial:
                discriminator.requires_grad_(True)
                with autocast:
                    real, fake = judge(batch.large), judge(restored.detach())
                judged = discriminator_loss(losses.adversarial, real, fake)
                judges.zero_grad(set_to_none=True)
                judged.backward()
                workers.average_gradients(discriminator)
                judges.step()
                meter.add(discriminator=judged, accuracy=discriminator_accuracy(losses.adversarial, real, fake))

            meter.add(loss=loss)
            watch.look(loss, step)
            step += 1
            spent = time.monotonic() - began
            if schedule.time_limit:
                spent = workers.clock(spent, device)
            rate, stage_done, done = schedule.rate(done), done, schedule.progress(step, spent)
            over = step % schedule.epoch_size == 0 or done >= 1.0
            if device.type == "cpu" or over or step % _LOOK_EVERY == 0:
                bad = watch.first_bad()
                if bad is not None:
                    raise _diverged(bad, patches, folder)
            if not over:
                journal.tick(schedule.epoch(done), schedule.all_epochs, done, spent)
                continue

            seconds = time.monotonic() - epoch_began
            row: dict[str, Any] = {
                "epoch": math.ceil(step / schedule.epoch_size), "step": step, "seconds": round(spent, 1),
                "stage": "adversarial" if adversarial else "pretrain" if schedule.pretraining(stage_done) else "content",
                "learning_rate": rate, **meter.read(workers),
                "images_per_second": (step - epoch_step) * patches.batch_size * workers.world / seconds,
            }  # fmt: skip
            if workers.chief:
                measured = measure(ema.network) if measure else {}
                better = _better(measured, best, adversarial=adversarial)
                if better:
                    best = measured
                state = describe | {
                    "step": step, "seconds": spent, "measured": measured, "best": best,
                    "weights": generator.state_dict(), "ema": ema.network.state_dict(),
                    "optimiser": optimiser.state_dict(),
                    "discriminator": discriminator.state_dict() if discriminator else None,
                    "judges": judges.state_dict() if judges else None,
                    "random": _random_state(device),
                }  # fmt: skip
                keep_checkpoint(folder, state, best=better, keep=keep)
                journal.epoch(schedule.all_epochs, done, row | measured, sample(ema.network) if sample else None)
            workers.wait()
            epoch_began, epoch_step = time.monotonic(), step
    return measured


class Ahead:
    """Draws the next batch in a thread while the device computes on this one.

    A batch depends on its step alone, so drawing ahead changes nothing but the time.
    """

    def __init__(self, patches: Patches) -> None:
        self._patches = patches
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="chetko-batch")
        self._next: tuple[int, Future[Batch]] | None = None

    def batch(self, step: int) -> Batch:
        if self._next is None or self._next[0] != step:
            self._next = step, self._thread.submit(self._patches.batch, step)
        batch = self._next[1].result()
        self._next = step + 1, self._thread.submit(self._patches.batch, step + 1)
        return batch

    def __enter__(self) -> Ahead:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)


class Meter:
    """Means of an epoch, summed on the device: adding waits for nothing."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, **values: Tensor) -> None:
        for name, value in values.items():
            value = value.detach()
            self._sums[name] = self._sums[name] + value if name in self._sums else value.clone()
            self._counts[name] = self._counts.get(name, 0) + 1

    def read(self, workers: Workers) -> dict[str, float]:
        """The means over all processes since the last reading, by name; waits for the device."""
        names = sorted(self._sums)
        means = torch.stack([self._sums[name].double() / self._counts[name] for name in names])
        self._sums.clear()
        self._counts.clear()
        return dict(zip(names, workers.mean(means).tolist(), strict=True))


class Watch:
    """Remembers, on the device, the first step whose loss was not finite."""

    def __init__(self, device: torch.device) -> None:
        self._first = torch.full((), -1, dtype=torch.long, device=device)

    def look(self, loss: Tensor, step: int) -> None:
        bad = ~torch.isfinite(loss.detach()) & (self._first < 0)
        self._first = torch.where(bad, step, self._first)

    def first_bad(self) -> int | None:
        """That step, or None; waits for the device."""
        first = int(self._first.item())
        return None if first < 0 else first


def _diverged(step: int, patches: Patches, folder: Path) -> DivergedError:
    pictures = ", ".join(dict.fromkeys(patches.batch(step).pictures))
    last = folder / LAST
    good = f"the last good checkpoint is {last}" if last.exists() else "no checkpoint was written before it"
    return DivergedError(
        f"the loss is not finite at step {step}; the pictures of its batch: {pictures}; {good}; "
        "go on with --resume and a lower --learning-rate"
    )


def _set_rate(optimisers: tuple[torch.optim.Optimizer | None, ...], rate: float) -> None:
    for optimiser in optimisers:
        for group in optimiser.param_groups if optimiser else ():
            group["lr"] = rate


def _better(measured: dict[str, float], best: dict[str, float], *, adversarial: bool) -> bool:
    """Whether this checkpoint is the best so far; where that cannot be told, the newest is.

    PSNR says nothing good of adversarial training (Ledig 2017, table 2): LPIPS judges there.
    """
    by = "lpips" if adversarial else "psnr"
    if by not in measured or by not in best:
        return True
    return measured[by] < best[by] if adversarial else measured[by] > best[by]


def _random_state(device: torch.device) -> dict[str, Tensor]:
    state = {"cpu": torch.get_rng_state()}
    return state | {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else state


def _restore(
    state: dict[str, Any],
    generator: nn.Module,
    discriminator: nn.Module | None,
    ema: Ema,
    optimiser: torch.optim.Optimizer,
    judges: torch.optim.Optimizer | None,
) -> tuple[int, float, dict[str, float]]:
    """Puts everything back as ``state`` has it; returns (step, seconds, best measurements)."""
    generator.load_state_dict(state["weights"])
    ema.network.load_state_dict(state["ema"])
    optimiser.load_state_dict(state["optimiser"])
    if discriminator is not None and judges is not None and state.get("discriminator") is not None:
        discriminator.load_state_dict(state["discriminator"])
        judges.load_state_dict(state["judges"])
    torch.set_rng_state(state["random"]["cpu"])
    if "cuda" in state["random"] and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["random"]["cuda"])
    return state["step"], state["seconds"], state["best"]
