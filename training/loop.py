"""The training loop, top to bottom: draw, step, watch; and at the end of an epoch measure, save, tell."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from training.checkpoint import LAST, keep_checkpoint
from training.data import Patches
from training.distributed import Workers
from training.game import Game, Stage
from training.hardware import Hardware
from training.journal import Journal
from training.meter import Meter, Watch
from training.schedule import Schedule

# A GPU is asked this seldom whether the loss is still finite: each question makes the host wait for it.
_LOOK_EVERY = 50


class DivergedError(Exception):
    """The loss became NaN or infinite, or the network died; the message says at which step and what to do."""


def train(
    game: Game,
    patches: Patches,
    schedule: Schedule,
    folder: Path,
    *,
    hardware: Hardware,
    workers: Workers,
    journal: Journal,
    describe: dict[str, Any],
    keep: int = 3,
    resume: dict[str, Any] | None = None,
    measure: Callable[[nn.Module], dict[str, float]] | None = None,
    sample: Callable[[nn.Module], Image.Image] | None = None,
) -> dict[str, float]:
    """Plays ``game`` to the end of ``schedule``, and leaves its checkpoints in ``folder``.

    ``describe`` goes into every checkpoint. ``resume`` is a loaded ``last.pt``: from a fixed seed and a schedule in
    steps, a run on a CPU that was killed and resumed gives the same weights as one that was not. ``measure`` and
    ``sample`` get the averaged network after each epoch; ``psnr`` chooses ``best.pt``, and ``lpips`` (else the
    newest) once a discriminator is in the game. Returns the last measurements. Raises ``DivergedError``.
    """
    device = hardware.device
    meter, watch = Meter(), Watch(device)
    step, spent = 0, 0.0
    measured: dict[str, float] = {}
    best: dict[str, float] = {}
    if resume is not None:
        game.load(resume)
        _set_random_state(resume["random"])
        step, spent, best = resume["step"], resume["seconds"], resume["best"]
    game.share()

    began = time.monotonic() - spent
    epoch_began, epoch_step = time.monotonic(), step
    done = schedule.progress(step, workers.clock(spent, device) if schedule.time_limit else spent)
    # The next batch is drawn in a thread while the device computes on this one; a batch depends on its step alone.
    with closing(patches.batches(step)) as batches:
        while done < 1.0:
            batch = next(batches)
            stage = _stage(game, schedule, done)
            rate = schedule.rate(done)
            game.set_rate(rate)
            restored, losses = game.generator_step(batch, stage, step)
            meter.add(**losses)
            watch.look(losses["loss"], step)
            if stage == "adversarial":
                meter.add(**game.discriminator_step(restored, batch.large))

            step += 1
            spent = time.monotonic() - began
            if schedule.time_limit:
                spent = workers.clock(spent, device)  # all must stop at the same step
            done = schedule.progress(step, spent)
            over = step % schedule.epoch_size == 0 or done >= 1.0
            if device.type == "cpu" or over or step % _LOOK_EVERY == 0:
                _stop_if_diverged(watch, patches, folder)
            if not over:
                journal.tick(step, done, spent)
                continue

            _stop_if_dead(game, step)
            means = meter.read(workers)
            images = (step - epoch_step) * patches.batch_size * workers.world / (time.monotonic() - epoch_began)
            if workers.chief:
                measured = measure(game.ema.network) if measure else {}
                better = _better(measured, best, stage)
                best = measured if better else best
                state = describe | game.state() | {
                    "step": step, "seconds": spent, "measured": measured, "best": best, "random": _random_state(device),
                }  # fmt: skip
                row = {
                    "epoch": math.ceil(step / schedule.epoch_size), "step": step, "seconds": round(spent, 1),
                    "stage": stage, "learning_rate": rate, **means, **measured, "images_per_second": images,
                }  # fmt: skip
                epochs = None if schedule.time_limit else schedule.all_epochs
                # Told before it is saved: a run killed between the two repeats a row, which resuming drops; the other
                # way round the row would be missing for ever.
                journal.epoch(epochs, done, row, sample(game.ema.network) if sample else None)
                keep_checkpoint(folder, state, best=better, keep=keep)
            workers.wait()
            epoch_began, epoch_step = time.monotonic(), step
    return measured


def _stage(game: Game, schedule: Schedule, done: float) -> Stage:
    if schedule.pretraining(done):
        return "pretrain"
    return "content" if game.discriminator is None else "adversarial"


def _stop_if_diverged(watch: Watch, patches: Patches, folder: Path) -> None:
    step = watch.first_bad()
    if step is None:
        return
    pictures = ", ".join(dict.fromkeys(patches.batch(step).pictures))
    last = folder / LAST
    good = f"the last good checkpoint is {last}" if last.exists() else "no checkpoint was written before it"
    raise DivergedError(
        f"the loss is not finite at step {step}; the pictures of its batch: {pictures}; {good}; "
        "go on with --resume and a lower --learning-rate"
    )


def _stop_if_dead(game: Game, step: int) -> None:
    if not game.learns():
        raise DivergedError(
            f"no gradient reaches the network's weights at step {step}: its activations have died, so it would not "
            "learn any more; begin again (--overwrite) with a lower --learning-rate"
        )


def _better(measured: dict[str, float], best: dict[str, float], stage: Stage) -> bool:
    """Whether this checkpoint is the best so far; where that cannot be told, the newest is.

    PSNR says nothing good of adversarial training (Ledig 2017, table 2): LPIPS judges there.
    """
    by = "lpips" if stage == "adversarial" else "psnr"
    if by not in measured or by not in best:
        return True
    return measured[by] < best[by] if by == "lpips" else measured[by] > best[by]


def _random_state(device: torch.device) -> dict[str, Tensor]:
    state = {"cpu": torch.get_rng_state()}
    return state | {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else state


def _set_random_state(state: dict[str, Tensor]) -> None:
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
