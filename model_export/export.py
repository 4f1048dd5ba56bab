"""From a network to a folder that the service can serve, with a numerical proof."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from model_export import precisions
from model_export.heads import head
from model_export.manifest import NAME, Words, merge_scale
from model_export.measure import (
    Image8,
    Restorer,
    activation_bytes_per_pixel,
    differences,
    halo_holds,
    measured_halo,
    parameters,
)
from model_export.pictures import poster, proving_set
from model_export.precisions import BFLOAT16_SEAMS, Ground, LeftOutError, Precision
from model_export.publish import publish, read_manifest
from model_export.serving import (
    OPSET,
    for_bytes,
    for_floats,
    round_to_half,
    served_form,
    to_onnx,
    write_onnx,
    write_weights,
)
from model_export.worse import refuse_worse
from training.evaluation.datasets import Pair, benchmark_pairs, sharp_pairs
from training.evaluation.lpips import Lpips, find_lpips_weights
from training.evaluation.restore import mean_scores, onnx_restorer, torch_restorer
from training.networks.work import multiply_adds

EXAMPLES = Path(__file__).parents[1] / "app" / "web" / "examples"

SCALES = (2, 4)
"""What the service can be asked for."""

SERVED_FORM_LEVELS = 0.1
"""8-bit levels, before rounding, by which the served form may differ from the network it was made of."""

KINDS = {"float32": "uint8", "float16": "fp16", "int8": "int8"}
"""Precision -> key of its file under ``files`` in the manifest; bfloat16 has none."""

SMALLER = ("float16", "bfloat16", "int8")
"""The precisions beside float32 that can be tried."""


class ExportError(Exception):
    """The proof failed, or something was asked for that the service cannot use; nothing was written."""


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
    trainable: bool = True
    """Whether ``chetko-train --init`` can go on from these weights: not with a network of another project."""


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
    """Replace a model that is better, or that cannot be compared."""
    precisions: Collection[str] = SMALLER
    """Of ``SMALLER``: those to try."""


def export(source: Source, wishes: Wishes) -> Path:
    """Writes the ONNX files of every precision that is good enough, and the manifest; returns the manifest's path.

    Raises ExportError if a file does not compute what PyTorch computes, and WorseError or CannotTellError if the
    folder holds a model that this one may not replace; then nothing is changed.
    """
    folder, scale = wishes.folder.resolve(), source.scale
    _check(folder.name, scale)
    ground = _ground(source, wishes)
    pictures = {name: image for name, (image, _) in ground.own.items()}
    with tempfile.TemporaryDirectory() as scratch:
        place = {kind: Path(scratch) / f"x{scale}.{kind}.onnx" for kind in ("float", "fp16", "int8")}
        place["uint8"] = Path(scratch) / f"x{scale}.onnx"
        network = _to_be_stored(source.network, ground)
        graph = to_onnx(network)
        write_onnx(for_bytes(graph), place["uint8"])
        write_onnx(for_floats(graph), place["float"])
        parity = _parity(network, place, pictures)
        measured = _measured(onnx_restorer(place["uint8"]), ground.sets, scale)
        if not wishes.force:
            refuse_worse(read_manifest(folder), scale, measured)
        full = _float32(place["uint8"], ground, measured)
        radius = float(source.network.receptive_field_radius)
        made, left_out = _smaller(graph, place, ground, full, wishes.precisions)
        halo = common_halo(made, left_out, pictures, scale, radius)
        for name, reason in left_out.items():
            print(f"{name} is left out: {reason}")
        print(f"halo {halo} px (receptive-field radius {radius:g} px) in {', '.join(made)}")
        entry = {
            "parameters": parameters(network),
            "multiply_adds_per_input_pixel": multiply_adds(network),
            "halo": halo,
            "receptive_field_radius": radius,
            "activation_bytes_per_input_pixel": activation_bytes_per_pixel(place["uint8"]),
            "opset": OPSET,
            "precisions": {name: precision.document() for name, precision in made.items()},
            "left_out": left_out,
            "training": source.training,
            "measured": measured,
            "parity": {"max_levels": parity, "pictures": sorted(pictures)},
        }

        kinds = ["uint8", "float", *(KINDS[name] for name in made if name in KINDS and name != "float32")]
        if source.trainable:
            place["weights"] = Path(scratch) / f"x{scale}.safetensors"
            write_weights(source.network, place["weights"])
            kinds.append("weights")
        further = {kind: _without_weights(kind, place) for kind in ("float", "fp16") if kind in kinds}

        def merge(present: dict[str, Any], files: dict[str, Any]) -> dict[str, Any]:
            told = {kind: file | further.get(kind, {}) for kind, file in files.items()}
            return merge_scale(
                present, folder.name, scale, {"files": told} | entry, words=wishes.words,
                architecture=source.architecture, equalize_colors=source.equalize_colors,
            )  # fmt: skip

        return publish(folder, scale, {kind: place[kind] for kind in kinds}, merge)


def _check(name: str, scale: int) -> None:
    if not NAME.fullmatch(name):
        raise ExportError(
            f"{name!r} cannot be a model's name: it takes at most 64 of a-z, 0-9, - and _, and begins with a letter "
            "or digit"
        )
    if scale not in SCALES:
        raise ExportError(f"the network enlarges {scale} times; the service knows 2 and 4")


def _ground(source: Source, wishes: Wishes) -> Ground:
    photos = sorted(path for path in wishes.photos.glob("*") if path.suffix.lower() in {".jpg", ".jpeg", ".png"})
    if not photos:
        raise ExportError(f"{wishes.photos} holds no JPEG or PNG to prove the files on")
    own = torch_restorer(source.network)
    return Ground(
        source.scale,
        photos,
        {name: (image, own(image)) for name, image in proving_set(photos).items()},
        _sets(source.scale, wishes.benchmarks),
    )


def _sets(scale: int, benchmarks: Path | None) -> dict[str, list[Pair]]:
    """The repository's sharp examples and each set under ``benchmarks``."""
    sets = {"examples": sharp_pairs([EXAMPLES / "dog.jpg", EXAMPLES / "city.jpg"], scale)}
    for folder in sorted(path for path in benchmarks.iterdir() if path.is_dir()) if benchmarks else []:
        sets[folder.name] = benchmark_pairs(folder, scale)
    return sets


def _to_be_stored(network: nn.Module, ground: Ground) -> nn.Module:
    """The served form of ``network``, its weights rounded to float16 unless photos show that.

    Raises ExportError when the served form is not the same function.
    """
    served = served_form(network)
    for name, (image, _) in ground.own.items():
        batch = torch.tensor(image).permute(2, 0, 1)[None].float() / 255.0
        with torch.no_grad():
            exact, plain = network(batch), served(batch)
        # An untrained network may answer far outside [0, 1]; rounding errors are relative to that.
        off = float((exact - plain).abs().max()) * 255.0 / max(1.0, float(exact.abs().max()))
        if not off <= SERVED_FORM_LEVELS:
            raise ExportError(f"the served form differs from the network by {off:.2f} levels on {name}")
    rounded = round_to_half(served)
    shown = differences(torch_restorer(rounded), ground.of_photos).worst
    if shown <= 1:
        return rounded
    print(f"weights stay float32: rounded to float16 they change photos by {shown} levels")
    return served


def _parity(network: nn.Module, place: Mapping[str, Path], pictures: Mapping[str, Image8]) -> int:
    """The largest difference of both float32 files from PyTorch with the same weights: 0 or 1.

    Raises ExportError when it is larger.
    """
    reference = torch_restorer(network)
    same = {name: (image, reference(image)) for name, image in pictures.items()}
    exact = differences(onnx_restorer(place["uint8"]), same)
    twin = differences(float_restorer(place["float"]), same)
    worst = max(exact.worst, twin.worst)
    print(f"parity with PyTorch: at most {worst} level(s) on {len(pictures)} pictures")
    if worst > 1:
        raise ExportError(f"the exported graph differs from PyTorch by {worst} levels: {exact.largest} {twin.largest}")
    return worst


def float_restorer(model: Path | bytes) -> Restorer:
    """The float twin ``model`` as a function of 8-bit pictures, to compare it with the others."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])

    def restore(image: Image8) -> Image8:
        out = session.run(None, {"image": image[None].astype(np.float32) / np.float32(255.0)})[0][0]
        return np.rint(out * np.float32(255.0)).astype(np.uint8)

    return restore


def _without_weights(kind: str, place: dict[str, Path]) -> dict[str, Any]:
    """Replaces the file ``place[kind]`` by its head (see ``heads``); returns what the manifest tells of it.

    Raises ExportError if head and weights do not compute what the file computes, to the bit.
    """
    path = place[kind]
    shared = head(path, place["uint8"])
    if shared is None:
        return {}
    picture = np.random.default_rng(0).integers(0, 256, (1, 24, 32, 3), np.uint8)
    whole, joined = (
        onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        for model in (path, shared.joined(place["uint8"]))
    )
    image = picture.astype(np.float32) / 255.0 if kind == "float" else picture
    if not all(map(np.array_equal, whole.run(None, {"image": image}), joined.run(None, {"image": image}))):
        raise ExportError(f"{path.name} computes something else with the weights of {place['uint8'].name}")
    place[kind] = path.with_suffix(".head")
    place[kind].write_bytes(shared.content)
    return {"continued": {"begin": shared.begin, "end": shared.end}}


def _measured(restore: Restorer, sets: Mapping[str, list[Pair]], scale: int) -> dict[str, dict[str, float]]:
    """PSNR (dB), SSIM and, where its weights lie on this machine, LPIPS of each set."""
    weights = find_lpips_weights()
    lpips = Lpips(weights) if weights else None
    table = {}
    for name, pairs in sets.items():
        scores = mean_scores(restore, pairs, scale, lpips=lpips)
        if not math.isfinite(scores["psnr"]):
            raise ExportError(f"PSNR on {name} is {scores['psnr']}")
        print(f"{name:>10}  PSNR {scores['psnr']:.3f} dB  SSIM {scores['ssim']:.4f}", end="")
        print(f"  LPIPS {scores['lpips']:.4f}" if lpips is not None else "")
        table[name] = scores
    return table


def _float32(path: Path, ground: Ground, measured: Mapping[str, Mapping[str, float]]) -> Precision:
    """Raises ExportError when the file is further than a level from the network's own forward on a photo."""
    restore = onnx_restorer(path)
    difference = differences(restore, ground.own)
    worst = max(difference.largest[name] for name in ground.of_photos)
    if worst > 1:
        raise ExportError(f"on photos the exported file differs by {worst} levels from the network")
    return Precision(path, restore, difference, {name: row["psnr"] for name, row in measured.items()})


def _smaller(
    graph: onnx.ModelProto, place: Mapping[str, Path], ground: Ground, full: Precision, wanted: Collection[str]
) -> tuple[dict[str, Precision], dict[str, str]]:
    """(every precision that is good enough, why each of the others is not)."""
    make: dict[str, Callable[[], Precision]] = {
        "float16": lambda: precisions.float16(graph, place["fp16"], ground, full),
        "bfloat16": lambda: precisions.bfloat16(for_bytes(graph), ground, full),
        "int8": lambda: precisions.int8(graph, place["int8"], ground, full),
    }
    made, left_out = {"float32": full}, {}
    for name in SMALLER:
        if name not in wanted:
            left_out[name] = "it was not asked for"
            continue
        try:
            made[name] = make[name]()
        except LeftOutError as reason:
            left_out[name] = str(reason)
    return made, left_out


def common_halo(
    made: dict[str, Precision], left_out: dict[str, str], pictures: Mapping[str, Image8], scale: int, radius: float
) -> int:
    """The smallest halo that holds on ``pictures``, and from there on a poster, in every precision but bfloat16, which
    is let pass more levels with it; within a pixel of the receptive field's radius it is the radius, which is exact for
    every picture and costs next to nothing. A precision that not even that helps moves from ``made`` to ``left_out``;
    if that is float32, ExportError is raised."""
    certain = math.ceil(radius)
    try:
        halo = measured_halo(made["float32"].restore, pictures.values(), scale, radius)
    except ValueError as error:
        raise ExportError(str(error)) from error
    for name in [name for name in made if name != "bfloat16"]:
        restore = made[name].restore
        wholes = [(image, restore(image)) for image in (*pictures.values(), poster())]
        holding = (each for each in range(halo, certain + 1) if halo_holds(restore, wholes, scale, each))
        fitting = next(holding, None)
        if fitting is not None:
            halo = fitting
        elif name == "float32":
            raise ExportError("tiles cut with the receptive field's radius differ from the whole poster")
        else:
            left_out[name] = "tiles differ from the whole picture whatever the halo"
            del made[name]
    if halo >= certain - 1:
        halo = certain
    if "bfloat16" in made:
        restore = made["bfloat16"].restore
        wholes = [(image, restore(image)) for image in pictures.values()]
        if not halo_holds(restore, wholes, scale, halo, levels=BFLOAT16_SEAMS):
            left_out["bfloat16"] = f"tiles differ from the whole picture by more than {BFLOAT16_SEAMS} levels"
            del made["bfloat16"]
    return halo
