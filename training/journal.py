"""What a run tells: the progress line, ``results.csv``, TensorBoard, and sample strips."""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from PIL import Image

RESULTS = "results.csv"
COLUMNS = (
    "epoch", "step", "seconds", "stage", "learning_rate", "loss", "content", "pixels", "adversarial", "discriminator",
    "accuracy", "psnr", "ssim", "lpips", "images_per_second",
)  # fmt: skip
_LIVE_SECONDS = 1.0


class Journal:
    """Belongs to the chief; every other process has ``Silence``."""

    def __init__(
        self, folder: Path, *, tensorboard: bool, resumed_at: int = 0, say: Callable[[str], None] = print
    ) -> None:
        """``resumed_at``: rows of later steps, which a killed run wrote and will be trained again, are dropped."""
        self.folder = folder
        self.say = say
        self._live = sys.stderr.isatty()
        self._shown = 0.0
        self._writer = _tensorboard(folder, resumed_at, say) if tensorboard else None
        path = folder / RESULTS
        rows = [row for row in _rows(path) if int(row["step"]) <= resumed_at] if resumed_at else []
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)

    def tick(self, step: int, done: float, spent: float) -> None:
        """Between two epochs, on a terminal: where the run is. Asks nothing of the device."""
        now = time.monotonic()
        if self._live and now - self._shown > _LIVE_SECONDS:
            self._shown = now
            sys.stderr.write(f"\rstep {step}  {done:4.0%}  {_left(done, spent)} left\x1b[K")
            sys.stderr.flush()

    def epoch(self, epochs: int | None, done: float, row: dict[str, Any], strip: Image.Image | None) -> None:
        """An epoch of ``epochs`` (None: time ends the run) is over: its row goes everywhere, its sample strip beside
        the checkpoints."""
        with (self.folder / RESULTS).open("a", newline="") as file:
            csv.DictWriter(file, COLUMNS, restval="", extrasaction="ignore").writerow(
                {key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()}
            )
        if self._live:
            sys.stderr.write("\r\x1b[K")
        self.say(_line(epochs, done, row))
        if self._writer is not None:
            for key in COLUMNS[4:]:
                if key in row:
                    self._writer.add_scalar(key, row[key], row["step"])
            if strip is not None:
                self._writer.add_image("sample", np.asarray(strip), row["step"], dataformats="HWC")
            self._writer.flush()
        if strip is not None:
            samples = self.folder / "samples"
            samples.mkdir(exist_ok=True)
            strip.save(samples / f"epoch-{row['epoch']:04}.png")

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [row for row in csv.DictReader(file) if (row.get("step") or "").isdigit()]


def _tensorboard(folder: Path, resumed_at: int, say: Callable[[str], None]) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - heavy, and not everybody has it
    except ImportError:
        say("TensorBoard is not installed (pip install tensorboard): results.csv has the same numbers")
        return None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=resumed_at + 1 if resumed_at else None)


def _left(done: float, spent: float) -> str:
    seconds = round(spent / done - spent) if done > 0 else 0
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _line(epochs: int | None, done: float, row: dict[str, Any]) -> str:
    place = f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}" if epochs else f"{done:4.0%} of the run"
    parts = [place, f"step {row['step']}", f"loss {row['loss']:.5g}"]
    if "adversarial" in row:
        parts.append(f"adversarial {row['adversarial']:.3f}  discriminator {row['discriminator']:.3f} "
                     f"({row['accuracy']:.0%} right)")  # fmt: skip
    if "psnr" in row:
        parts.append(f"PSNR {row['psnr']:.3f} dB")
    if "lpips" in row:
        parts.append(f"LPIPS {row['lpips']:.4f}")
    parts.append(f"{row['images_per_second']:.0f} images/s")
    parts.append(f"{_left(done, row['seconds'])} left")
    return "  ".join(parts)


class Silence(Journal):
    """The journal of a process that is not the chief."""

    def __init__(self) -> None:
        self._live = False
        self._writer = None

    def epoch(self, epochs: int | None, done: float, row: dict[str, Any], strip: Image.Image | None) -> None:
        pass
