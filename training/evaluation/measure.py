"""Rows of figures: one for each picture and method, and their means."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from training.evaluation.datasets import DatasetError, Example, Image8
from training.evaluation.lpips import SMALLEST, Distance
from training.evaluation.methods import BICUBIC, Method
from training.evaluation.restore import chroma_psnr, compare, cut_to, restore_any

Kind = Literal["computed", "published"]
MEASURES = ("psnr", "ssim", "lpips", "seconds_per_megapixel", "chroma_psnr")


@dataclass(frozen=True)
class Row:
    """What one method made of one picture, or (``picture`` is None) the mean over a data set."""

    method: str
    title: str
    kind: Kind
    """``published``: taken from a file, computed by others."""
    scale: int
    dataset: str
    picture: str | None
    psnr: float
    """dB, on luma, ``scale`` pixels shaved."""
    ssim: float | None
    """None where only means were published."""
    lpips: float | None
    """None for published rows, and for pictures under 31 px."""
    seconds_per_megapixel: float | None
    """Of output, all cores of this machine. None for published rows."""
    chroma_psnr: float | None = None
    """dB, of Cb and Cr together, shaved as well. None for published rows and grey pictures."""


Seen = Callable[[Row, Image8], None]
"""Is shown each row with its restored picture."""


def measure(
    methods: Iterable[Method],
    dataset: str,
    examples: Sequence[Example],
    scale: int,
    *,
    lpips: Distance | None,
    grey_as_rgb: bool = False,
    seen: Seen = lambda _row, _restored: None,
) -> list[Row]:
    """A row per method and picture. With ``grey_as_rgb`` every method has a second row, named so, in which one-channel
    files are compared after conversion to RGB, as most results since 2017 are."""
    rows = []
    for method in methods:
        restore_any(method.restore, examples[0].small[:24, :24])  # what a first call costs is nobody's speed
        for example in examples:
            begun = time.perf_counter()
            restored = restore_any(method.restore, example.small)
            seconds = time.perf_counter() - begun
            sharp = cut_to(example.large, scale)
            if restored.shape != sharp.shape:
                raise DatasetError(
                    f"{dataset}/{example.name}: x{scale} of the small picture is {restored.shape[:2]} pixels, "
                    f"the sharp one {sharp.shape[:2]}"
                )
            told = compare(restored, sharp, scale, lpips=lpips if min(sharp.shape[:2]) >= SMALLEST else None)
            megapixels = sharp.shape[0] * sharp.shape[1] / 1e6
            row = Row(
                method.name, method.title, "computed", scale, dataset, example.name, told["psnr"], told["ssim"],
                told.get("lpips"), seconds / megapixels, chroma_psnr(restored, sharp, scale),
            )  # fmt: skip
            rows.append(row)
            seen(row, restored)
            if grey_as_rgb:
                rgb = compare(restored, sharp, scale, grey_as_rgb=True)
                name, title = f"{method.name} (grey as RGB)", f"{method.title}, grey as RGB"
                rows.append(replace(row, method=name, title=title, psnr=rgb["psnr"], ssim=rgb["ssim"]))
    return rows


def published_rows(file: Path, dataset: str, examples: Sequence[Example], scale: int) -> list[Row]:
    """Rows that others computed, from ``{"SET/xS": {"PSNR" | "SSIM": {method: [per picture, in file order]}}}``.

    None for a set that the file does not hold. The bicubic row is left out: ours must equal it (``doubts``).
    Raises ``DatasetError`` when the file has another shape or number of pictures.
    """
    try:
        table = json.loads(file.read_text("utf-8")).get(f"{dataset}/x{scale}", {"PSNR": {}})
        rows = []
        for method, psnr in table["PSNR"].items():
            if method != BICUBIC:
                for example, each, ssim in zip(examples, psnr, table["SSIM"][method], strict=True):
                    title = f"{method} (published)"
                    rows.append(Row(title, title, "published", scale, dataset, example.name, each, ssim, None, None))
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise DatasetError(f"{file} does not hold published figures of {dataset}'s pictures: {error}") from error
    return rows


def means(rows: Iterable[Row]) -> list[Row]:
    """The mean row of each method, scale and data set, in the order of their first rows."""
    groups: dict[tuple[str, int, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.method, row.scale, row.dataset), []).append(row)
    return [
        Row(
            each[0].method, each[0].title, each[0].kind, each[0].scale, each[0].dataset, None,
            *(_mean([getattr(row, measure) for row in each]) for measure in MEASURES),
        )
        for each in groups.values()
    ]  # fmt: skip


def _mean(values: list[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else None
