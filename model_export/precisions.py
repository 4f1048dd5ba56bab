"""One network in several number formats: what makes each, how far it is off, and whether it is good enough."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from model_export.half import rounded_everywhere, rounded_to_bfloat16
from model_export.int8 import inner_convolutions, quantize
from model_export.measure import Difference, Image8, Restorer, differences
from model_export.pictures import calibration_set
from model_export.serving import for_bytes, for_bytes_in_half, write_onnx
from training.evaluation.datasets import Pair
from training.evaluation.restore import mean_scores, onnx_restorer

MOST_PSNR_LOSS = 0.1
"""dB that a smaller precision may lose on any set."""
HALF_LEVELS = 4
"""8-bit levels by which float16 may be off in any value of any proving picture."""
BFLOAT16_LEVELS = 8
"""The same for bfloat16, whose numbers have 8 bits: that of the brightest level alone is off by one."""
BFLOAT16_SEAMS = 2
"""8-bit levels by which tiles may differ from the whole picture in bfloat16. The others are held to one by their halo;
one more pixel of it, for a level that nobody sees, would cost all of them time."""
INT8_LEVELS = 32
"""The same for int8: an eighth of the range, which one sees."""
LEAST_SPEEDUP = 1.1
"""How many times as fast as float32 int8 must be: less is within what such a measurement varies by."""


class LeftOutError(Exception):
    """A precision is not good enough; the message is the sentence for the manifest."""


@dataclass(frozen=True)
class Ground:
    """What every precision of a network is measured on."""

    scale: int
    photos: list[Path]
    own: Mapping[str, tuple[Image8, Image8]]
    """Name of a proving picture -> (picture, what the network's own forward in PyTorch makes of it)."""
    sets: Mapping[str, list[Pair]]
    """Name of a test set -> its (LR, HR) pairs."""

    @property
    def of_photos(self) -> dict[str, tuple[Image8, Image8]]:
        """The part of ``own`` that is photographs."""
        return {path.stem: self.own[path.stem] for path in self.photos}


@dataclass(frozen=True)
class Precision:
    """One number format: its file and what was measured of it."""

    path: Path
    restore: Restorer
    difference: Difference
    """From the network's own forward."""
    psnr: dict[str, float]
    """Set -> dB."""
    speedup: float | None = None
    """How many times as fast as float32, where that decides."""

    def document(self) -> dict[str, Any]:
        """As the manifest tells it."""
        speed = {} if self.speedup is None else {"speedup": round(self.speedup, 2)}
        return {"psnr": self.psnr} | self.difference.document() | speed


def float16(network: onnx.ModelProto, path: Path, ground: Ground, full: Precision) -> Precision:
    """Writes ``network`` (as ``to_onnx`` gives it) in float16 to ``path``.

    The file itself is run, which on the CPU is float32 (see ``rounded_everywhere``) and shows that the graph is right;
    everything told is measured with every result rounded to float16. Raises LeftOutError.
    """
    graph = for_bytes_in_half(network)
    write_onnx(graph, path)
    session = onnxruntime.InferenceSession(
        rounded_everywhere(graph).SerializeToString(), providers=["CPUExecutionProvider"]
    )

    def restore(image: Image8) -> Image8:
        upscaled, finite = session.run(["upscaled", "finite"], {"image": np.ascontiguousarray(image)[None]})
        if not finite:
            raise LeftOutError("it overflows")
        made: Image8 = upscaled[0]
        return made

    difference, psnr = _good_enough(restore, ground, full, levels=HALF_LEVELS)
    if differences(onnx_restorer(path), ground.own).worst > HALF_LEVELS:
        raise LeftOutError("its graph does not compute what the network computes")
    return Precision(path, restore, difference, psnr)


def bfloat16(served: onnx.ModelProto, ground: Ground, full: Precision) -> Precision:
    """``served`` (as ``for_bytes`` gives it) where it is computed in bfloat16, from the file of ``full``: it needs none
    of its own.

    Measured with everything rounded to bfloat16, since onnxruntime's CPU has no kernels for it. Raises LeftOutError.
    """
    if not inner_convolutions(served):
        raise LeftOutError("there is no convolution between the first and the last")
    session = onnxruntime.InferenceSession(
        rounded_to_bfloat16(served).SerializeToString(), providers=["CPUExecutionProvider"]
    )

    def restore(image: Image8) -> Image8:
        made: Image8 = session.run(["upscaled"], {"image": np.ascontiguousarray(image)[None]})[0][0]
        return made

    difference, psnr = _good_enough(restore, ground, full, levels=BFLOAT16_LEVELS)
    return Precision(full.path, restore, difference, psnr)


def int8(network: onnx.ModelProto, path: Path, ground: Ground, full: Precision) -> Precision:
    """Writes ``network`` (as ``to_onnx`` gives it) in int8 to ``path``. Raises LeftOutError when it is not worth it."""
    graph = for_bytes(network)
    if not inner_convolutions(graph):
        raise LeftOutError("there is no convolution between the first and the last")
    write_onnx(quantize(graph, calibration_set(ground.photos)), path)
    gained = speedup(full.path, path)  # seconds, where what it loses takes minutes
    if gained < LEAST_SPEEDUP:
        raise LeftOutError(f"it is {gained:.2f} times as fast as float32, and {LEAST_SPEEDUP:g} is asked for")
    restore = onnx_restorer(path)
    difference, psnr = _good_enough(restore, ground, full, levels=INT8_LEVELS)
    return Precision(path, restore, difference, psnr, gained)


def speedup(full: Path, quick: Path, *, edge: int = 128, turns: int = 7) -> float:
    """How many times as fast as ``full`` ``quick`` runs on one thread of this machine: the best of ``turns`` each,
    taken alternately."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    image = np.random.default_rng(0).integers(0, 256, (1, edge, edge, 3), np.uint8)
    sessions = [
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"]) for path in (full, quick)
    ]
    best = [math.inf, math.inf]
    for _ in range(turns):
        for index, session in enumerate(sessions):
            began = time.perf_counter()
            session.run(["upscaled"], {"image": image})
            best[index] = min(best[index], time.perf_counter() - began)
    return best[0] / best[1]


def _good_enough(
    restore: Restorer, ground: Ground, full: Precision, *, levels: int
) -> tuple[Difference, dict[str, float]]:
    """Distance and PSNR of a smaller precision. Raises LeftOutError when it is too far from the network."""
    difference = differences(restore, ground.own)
    if difference.worst > levels:
        where = max(difference.largest, key=lambda name: difference.largest[name])
        raise LeftOutError(f"it is off by {difference.worst} levels on {where}, and {levels} are let pass")
    psnr = {}
    for name, pairs in ground.sets.items():
        psnr[name] = mean_scores(restore, pairs, ground.scale)["psnr"]
        loss = full.psnr[name] - psnr[name]
        if not loss <= MOST_PSNR_LOSS:
            raise LeftOutError(f"it loses {loss:.2f} dB on {name}, and {MOST_PSNR_LOSS:g} are let pass")
    return difference, psnr
