"""From a network to a folder that the service can serve, with a numerical proof."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from model_export.int8 import inner_convolutions, quantize
from model_export.manifest import NAME, Words, merge_scale
from model_export.measure import (
    Difference,
    Image8,
    Restorer,
    activation_bytes_per_pixel,
    differences,
    halo_holds,
    measured_halo,
    multiply_adds,
    parameters,
)
from model_export.pictures import calibration_set, proving_set
from model_export.publish import publish, read_manifest
from model_export.serving import (
    OPSET,
    Served8,
    ServedFloat,
    ServedHalf,
    round_to_half,
    served_form,
    to_onnx,
    write_onnx,
)
from model_export.worse import CannotTellError, refuse_worse
from training.evaluation.datasets import Pair, benchmark_pairs, sharp_pairs
from training.evaluation.restore import mean_scores, onnx_restorer, torch_restorer

EXAMPLES = Path(__file__).parents[1] / "app" / "web" / "examples"

SCALES = (2, 4)
"""What the service can be asked for."""

SERVED_FORM_LEVELS = 0.1
"""8-bit levels, before rounding, by which the served form may differ from the network it was made of."""
MOST_PSNR_LOSS = 0.1
"""dB that a smaller precision may lose on any set."""
HALF_LEVELS = 4
"""Levels by which half precision may be off in any value of any proving picture."""
INT8_LEVELS = 32
"""The same for int8: an eighth of the range, which one sees."""
LEAST_SPEEDUP = 1.1
"""How many times as fast as float32 int8 must be: less is within what such a measurement varies by."""


class ExportError(Exception):
    """The export's proof failed, or it was asked for what the service cannot use; nothing was written."""


class _LeftOutError(Exception):
    """A precision is not good enough; the message is the sentence for the manifest."""


@dataclass(frozen=True)
class Source:
    """A trained network and where it comes from."""

    network: nn.Module
    """In eval mode, on the CPU; with ``receptive_field_radius``."""
    scale: int
    architecture: dict[str, Any]
    training: dict[str, Any]
    equalize_colors: bool = False
    """What the service does when a caller does not say."""


@dataclass(frozen=True)
class Wishes:
    """What the caller chooses."""

    folder: Path
    """The model's folder; its name is the model's name."""
    photos: Path = EXAMPLES
    """Photographs to prove the files on."""
    benchmarks: Path | None = None
    """Folder of Set5, Set14, ... to measure."""
    words: Words = field(default_factory=Words)
    force: bool = False
    """Replace a model that is better."""


@dataclass
class _Precision:
    """One number format: its file and what was measured of it."""

    path: Path
    restore: Restorer
    difference: Difference
    """From the network's own forward in PyTorch."""
    psnr: dict[str, float]
    speedup: float | None = None

    def document(self) -> dict[str, Any]:
        told = {"psnr": self.psnr} | self.difference.document()
        return told | ({} if self.speedup is None else {"speedup": round(self.speedup, 2)})


def export(source: Source, wishes: Wishes) -> Path:
    """Writes the ONNX files of every precision that is good enough and the manifest; returns the manifest's path.

    Raises ExportError if a file does not compute what PyTorch computes, and WorseError or CannotTellError if the
    folder holds a model that this one may not replace; then nothing is changed.
    """
    folder, scale = wishes.folder.resolve(), source.scale
    if not NAME.fullmatch(folder.name):
        raise ExportError(
            f"{folder.name!r} cannot be a model's name: lower-case letters, digits, - and _, at most 64, first no sign"
        )
    if scale not in SCALES:
        raise ExportError(f"the network enlarges {scale} times; the service knows 2 and 4")
    photos = sorted(wishes.photos.glob("*.jpg")) + sorted(wishes.photos.glob("*.png"))
    if not photos:
        raise ExportError(f"{wishes.photos} holds no .jpg or .png to prove the files on")
    pictures = proving_set(photos)
    sets = _sets(scale, wishes.benchmarks)
    photo_names = [path.stem for path in photos]
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        own = {name: (image, torch_restorer(source.network)(image)) for name, image in pictures.items()}
        network = _to_be_stored(source.network, own, photo_names)
        graph = to_onnx(Served8(network), torch.zeros(1, 40, 32, 3, dtype=torch.uint8))
        files = {"uint8": place / f"x{scale}.onnx", "float": place / f"x{scale}.float.onnx"}
        write_onnx(graph, files["uint8"])
        write_onnx(to_onnx(ServedFloat(network), torch.zeros(1, 40, 32, 3)), files["float"])
        parity = _proved(network, files, pictures)
        full = _Precision(
            files["uint8"], onnx_restorer(files["uint8"]), differences(onnx_restorer(files["uint8"]), own), {}
        )
        off = max(full.difference.largest[name] for name in photo_names)
        if off > 1:
            raise ExportError(f"on photos the exported file differs by {off} levels from the network")
        measured = _measured(full.restore, sets, scale)
        full.psnr = {name: row["psnr"] for name, row in measured.items()}
        if not wishes.force:
            refuse_worse(read_manifest(folder), scale, measured)
        precisions, left_out = {"float32": full}, {}
        for name, make in (("float16", _half), ("int8", _int8)):
            try:
                precisions[name] = make(network, graph, full, own, sets, photos, place, scale)
            except _LeftOutError as reason:
                left_out[name] = str(reason)
                print(f"{name} is left out: {reason}")
        radius = float(source.network.receptive_field_radius)
        halo = _common_halo(precisions, left_out, pictures, scale, radius)
        files |= {kind: precisions[name].path for kind, name in _KINDS.items() if name in precisions}
        entry = {
            "parameters": parameters(network),
            "multiply_adds_per_input_pixel": multiply_adds(network),
            "halo": halo,
            "receptive_field_radius": radius,
            "activation_bytes_per_input_pixel": activation_bytes_per_pixel(files["uint8"]),
            "opset": OPSET,
            "precisions": {name: precision.document() for name, precision in precisions.items()},
            "left_out": left_out,
            "training": source.training,
            "measured": measured,
            "parity": {"max_levels": parity, "pictures": sorted(pictures)},
        }

        def merge(present: dict[str, Any], named: dict[str, Any]) -> dict[str, Any]:
            return merge_scale(
                present, folder.name, scale, entry | {"files": named}, words=wishes.words,
                architecture=source.architecture, equalize_colors=source.equalize_colors,
            )  # fmt: skip

        return publish(folder, scale, files, merge)


_KINDS = {"fp16": "float16", "int8": "int8"}
"""Key under ``files`` in the manifest -> precision."""


def _to_be_stored(network: nn.Module, own: Mapping[str, tuple[Image8, Image8]], photos: list[str]) -> nn.Module:
    """The served form of ``network``, with weights rounded to float16 where no photo shows that.

    Raises ExportError when the served form is not the same function.
    """
    served = served_form(network)
    for name, (image, _) in own.items():
        batch = torch.tensor(image).permute(2, 0, 1)[None].float() / 255.0
        with torch.no_grad():
            exact, plain = network(batch), served(batch)
        # An untrained network may answer far outside [0, 1]; rounding errors are relative to that.
        off = float((exact - plain).abs().max()) * 255.0 / max(1.0, float(exact.abs().max()))
        if not off <= SERVED_FORM_LEVELS:
            raise ExportError(f"the served form differs from the network by {off:.2f} levels on {name}")
    rounded = round_to_half(served)
    shown = differences(torch_restorer(rounded), {name: own[name] for name in photos})
    if shown.worst > 1:
        print(f"weights stay float32: rounded to float16 they change photos by {shown.worst} levels")
        return served
    return rounded


def _proved(network: nn.Module, files: Mapping[str, Path], pictures: Mapping[str, Image8]) -> int:
    """The largest difference of both float32 files from PyTorch with the same weights: 0 or 1.

    Raises ExportError when it is larger.
    """
    same = {name: (image, torch_restorer(network)(image)) for name, image in pictures.items()}
    exact = differences(onnx_restorer(files["uint8"]), same)
    twin = differences(_float_restorer(files["float"]), same)
    worst = max(exact.worst, twin.worst)
    print(f"parity with PyTorch: at most {worst} level(s) on {len(pictures)} pictures")
    if worst > 1:
        raise ExportError(
            f"the exported graph differs from PyTorch by {worst} levels: {exact.largest}, {twin.largest}"
        )
    return worst


def _float_restorer(path: Path) -> Restorer:
    """The float twin at ``path`` as a function of 8-bit pictures, to compare it with the others."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def restore(image: Image8) -> Image8:
        out = session.run(None, {"image": image[None].astype(np.float32) / np.float32(255.0)})[0][0]
        return np.rint(out * np.float32(255.0)).astype(np.uint8)

    return restore


def _half(
    network: nn.Module, _graph: onnx.ModelProto, full: _Precision, own: Mapping[str, tuple[Image8, Image8]],
    sets: Mapping[str, list[Pair]], _photos: list[Path], place: Path, scale: int,
) -> _Precision:  # fmt: skip
    """The network in float16, as onnxruntime's CPU provider computes it: every layer's result rounded to float16.

    Raises _LeftOutError.
    """
    path = place / f"x{scale}.fp16.onnx"
    example = torch.zeros(1, 40, 32, 3, dtype=torch.uint8)
    write_onnx(to_onnx(ServedHalf(network), example, ("upscaled", "finite")), path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for name, (image, _) in own.items():
        if not session.run(["finite"], {"image": image[None]})[0]:
            raise _LeftOutError(f"it overflows on {name}")
    restore = onnx_restorer(path)
    return _good_enough(path, restore, full, own, sets, scale, levels=HALF_LEVELS)


def _int8(
    _network: nn.Module, graph: onnx.ModelProto, full: _Precision, own: Mapping[str, tuple[Image8, Image8]],
    sets: Mapping[str, list[Pair]], photos: list[Path], place: Path, scale: int,
) -> _Precision:  # fmt: skip
    """The network in int8, if it is worth it. Raises _LeftOutError."""
    if not inner_convolutions(graph):
        raise _LeftOutError("there is no convolution between the first and the last")
    path = place / f"x{scale}.int8.onnx"
    write_onnx(quantize(graph, calibration_set(photos)), path)
    precision = _good_enough(path, onnx_restorer(path), full, own, sets, scale, levels=INT8_LEVELS)
    precision.speedup = _speedup(full.path, path)
    if precision.speedup < LEAST_SPEEDUP:
        raise _LeftOutError(
            f"it is {precision.speedup:.2f} times as fast as float32, and {LEAST_SPEEDUP:g} is the least that counts"
        )
    return precision


def _good_enough(
    path: Path, restore: Restorer, full: _Precision, own: Mapping[str, tuple[Image8, Image8]],
    sets: Mapping[str, list[Pair]], scale: int, *, levels: int,
) -> _Precision:  # fmt: skip
    """What was measured of a smaller precision. Raises _LeftOutError when it is too far from the network."""
    difference = differences(restore, own)
    worst = max(difference.largest, key=lambda name: difference.largest[name])
    if difference.worst > levels:
        raise _LeftOutError(f"it is off by {difference.worst} levels on {worst}, and {levels} are let pass")
    psnr = {}
    for name, pairs in sets.items():
        psnr[name] = mean_scores(restore, pairs, scale)["psnr"]
        if full.psnr[name] - psnr[name] > MOST_PSNR_LOSS:
            raise _LeftOutError(
                f"it loses {full.psnr[name] - psnr[name]:.2f} dB on {name}, and {MOST_PSNR_LOSS:g} are let pass"
            )
    return _Precision(path, restore, difference, psnr)


def _speedup(full: Path, quick: Path, *, edge: int = 128, times: int = 7) -> float:
    """How many times as fast as ``full`` ``quick`` runs on one thread of this machine: the best of ``times`` turns
    each, taken alternately."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    image = np.random.default_rng(0).integers(0, 256, (1, edge, edge, 3), np.uint8)
    best = {}
    sessions = {
        path: onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"]) for path in (full, quick)
    }
    for _ in range(times):
        for path, session in sessions.items():
            began = time.perf_counter()
            session.run(["upscaled"], {"image": image})
            best[path] = min(best.get(path, math.inf), time.perf_counter() - began)
    return best[full] / best[quick]


def _common_halo(
    precisions: dict[str, _Precision], left_out: dict[str, str], pictures: Mapping[str, Image8], scale: int, radius: float
) -> int:
    """The smallest halo that holds in every precision; one that not even the receptive field's radius helps moves
    from ``precisions`` to ``left_out``. Raises ExportError when that one is float32."""
    try:
        halo = measured_halo(precisions["float32"].restore, pictures.values(), scale, radius)
    except ValueError as error:
        raise ExportError(str(error)) from error
    for name in [name for name in precisions if name != "float32"]:
        restore = precisions[name].restore
        wholes = [(image, restore(image)) for image in pictures.values()]
        fits = [each for each in range(halo, math.ceil(radius) + 1) if halo_holds(restore, wholes, scale, each)][:1]
        if fits:
            halo = fits[0]
        else:
            left_out[name] = "tiles differ from the whole picture whatever the halo"
            print(f"{name} is left out: {left_out[name]}")
            del precisions[name]
    print(f"halo {halo} px (receptive-field radius {radius:g} px) in {', '.join(precisions)}")
    return halo


def _sets(scale: int, benchmarks: Path | None) -> dict[str, list[Pair]]:
    """The repository's sharp examples and each set under ``benchmarks``."""
    sets = {"examples": sharp_pairs([EXAMPLES / "dog.jpg", EXAMPLES / "city.jpg"], scale)}
    for folder in sorted(path for path in benchmarks.iterdir() if path.is_dir()) if benchmarks else []:
        sets[folder.name] = benchmark_pairs(folder, scale)
    return sets


def _measured(restore: Restorer, sets: Mapping[str, list[Pair]], scale: int) -> dict[str, dict[str, float]]:
    """PSNR, SSIM and, where its weights are to be had, LPIPS on each set."""
    table = {}
    for name, pairs in sets.items():
        scores = mean_scores(restore, pairs, scale)
        if not math.isfinite(scores["psnr"]):
            raise ExportError(f"PSNR on {name} is {scores['psnr']}")
        print(f"{name:>10}  PSNR {scores['psnr']:.3f} dB  SSIM {scores['ssim']:.4f}")
        table[name] = scores
    return table
