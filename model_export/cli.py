"""``chetko-export``: a checkpoint becomes a model that the service can serve, with a numerical proof."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Any

import torch

from model_export.export import EXAMPLES, SCALES, SMALLER, ExportError, Source, Wishes, export
from model_export.foreign import ForeignError, read_tensors, recognise
from model_export.lpips import FOLDER, LpipsProofError, export_lpips
from model_export.manifest import KINDS, Words
from model_export.srvgg import to_srvgg
from model_export.worse import CannotTellError, WorseError
from training.checkpoint import CheckpointError, load_checkpoint, network_of
from training.evaluation.datasets import DatasetError, pictures_in
from training.evaluation.lpips import FILE as LPIPS_FILE
from training.evaluation.lpips import find_lpips_weights
from training.networks.bicubic import Bicubic
from training.weights import WeightsError


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="chetko-export", description=__doc__.splitlines()[0])
    top.add_argument("checkpoint", nargs="?", type=Path, metavar="CHECKPOINT", help="a .pt file of chetko-train")
    top.add_argument(
        "--from-pth", type=Path, metavar="FILE",
        help="weights of another project instead: .pth or .safetensors of SRVGGNetCompact, MSRResNet or SRResNet",
    )  # fmt: skip
    top.add_argument(
        "--bicubic", type=int, choices=SCALES, metavar="SCALE",
        help="export bicubic enlargement instead, which has nothing to learn: the baseline of every table",
    )  # fmt: skip
    top.add_argument(
        "--lpips", nargs="?", type=Path, const=Path(), metavar="FILE",
        help="write the measure LPIPS for the service instead, from FILE or the lpips_alex.safetensors of this machine",
    )  # fmt: skip
    top.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="the model's folder; its name is the model's name"
    )
    top.add_argument("--to-pth", type=Path, metavar="FILE", help="write the weights as an SRVGGNetCompact .pth")
    top.add_argument("--force", action="store_true", help="replace a better model, or one that cannot be compared")

    words = top.add_argument_group("what people read (default: as it was, or plain words)")
    words.add_argument("--title", nargs="+", metavar="TEXT", help="in English and in Russian; one for both")
    words.add_argument("--description", nargs="+", metavar="TEXT", help="one sentence, likewise")
    words.add_argument("--kind", choices=KINDS, help="what the model is for")
    words.add_argument("--licence", metavar="SPDX", help="of the weights")
    words.add_argument("--hardware", default="", metavar="TEXT", help="what the model was trained on")
    words.add_argument("--data", default="", metavar="TEXT", help="what the model was trained with")

    proof = top.add_argument_group("the proof")
    proof.add_argument(
        "--photos", type=Path, default=EXAMPLES, metavar="DIR", help="photos to prove parity and halo on"
    )
    proof.add_argument(
        "--precisions", nargs="*", choices=SMALLER, default=SMALLER, metavar="NAME",
        help=f"number formats to try beside float32, of {', '.join(SMALLER)} (default: all; without a name: none). "
             "Each is run on every picture, which takes hours for a large network",
    )  # fmt: skip
    proof.add_argument("--benchmarks", type=Path, metavar="DIR", help="folder of Set5, Set14, ... to measure as well")
    return top


def trained(options: argparse.Namespace) -> Source:
    """The network of a checkpoint. Raises CheckpointError."""
    state = load_checkpoint(options.checkpoint)
    chosen, recipe = state["network_options"], state["recipe"]
    return Source(
        network=network_of(state),
        scale=int(chosen["scale"]),
        architecture={"network": state["network"]} | {key: value for key, value in chosen.items() if key != "scale"},
        training={
            "recipe": {name: _portable(value) for name, value in recipe.items()},
            "data": options.data, "steps": state["step"],
            "hours": round(state["seconds"] / 3600, 3), "hardware": options.hardware,
        } | ({"blends": state["blends"]} if "blends" in state else {}),
        equalize_colors=bool(recipe.get("equalize_colors", False)),
    )  # fmt: skip


def _portable(value: Any) -> Any:
    """A setting as others may read it: of absolute paths, which tell of the trainer's machine alone, only the name."""
    if isinstance(value, list):
        return [_portable(each) for each in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def foreign(options: argparse.Namespace) -> Source:
    """The network in another project's file. Raises ForeignError."""
    network = recognise(read_tensors(options.from_pth))
    name = type(network).__name__
    print(f"{options.from_pth} is a {name}: {', '.join(f'{key} {value}' for key, value in network.options.items())}")
    return Source(
        network=network,
        scale=int(network.scale),
        architecture={"network": name} | {key: value for key, value in network.options.items() if key != "scale"},
        training={"file": options.from_pth.name, "data": options.data, "hardware": options.hardware},
        trainable=False,
    )


def interpolation(scale: int) -> Source:
    """Bicubic enlargement, which nobody trained."""
    return Source(Bicubic(scale), scale, {"network": "bicubic"}, {}, trainable=False)


def _source(options: argparse.Namespace) -> Source:
    if options.bicubic:
        return interpolation(options.bicubic)
    return foreign(options) if options.from_pth else trained(options)


def main(argv: list[str] | None = None) -> int:
    """The command ``chetko-export``; returns the exit code: 1 for what it cannot do, 3 for a worse model."""
    options = parser().parse_args(argv)
    if [options.checkpoint, options.from_pth, options.bicubic, options.lpips].count(None) != 3:
        parser().error("say what to export: a CHECKPOINT of chetko-train, --from-pth FILE, --bicubic SCALE or --lpips")
    if options.lpips is None and not options.output and not options.to_pth:
        parser().error("say where to: -o DIR for the service, --to-pth FILE for other programs, or both")
    for name in ("title", "description"):
        if len(getattr(options, name) or []) > 2:
            parser().error(f"--{name} takes the English and the Russian text, each in quotes")
    try:
        if options.lpips is not None:
            print(_export_lpips(options))
            return 0
        source = _source(options)
        if options.to_pth:
            torch.save({"params": to_srvgg(source.network)}, options.to_pth)
            print(f"{options.to_pth}: SRVGGNetCompact")
        if options.output:
            print(_export(source, options))
    except WorseError as error:
        print(f"chetko-export: {error}", file=sys.stderr)
        return 3
    except (
        CannotTellError, CheckpointError, DatasetError, ExportError, ForeignError, LpipsProofError, OSError, TypeError,
        ValueError, WeightsError,
    ) as error:  # fmt: skip
        print(f"chetko-export: {error}", file=sys.stderr)
        return 1
    return 0


def _export_lpips(options: argparse.Namespace) -> Path:
    weights = find_lpips_weights(None if options.lpips == Path() else options.lpips)
    if weights is None:
        raise WeightsError(f"{LPIPS_FILE} is not on this machine: name the file with --lpips FILE")
    return export_lpips(weights, options.output or FOLDER, pictures_in(options.photos))


def _export(source: Source, options: argparse.Namespace) -> Path:
    licence = options.licence or ("LicenseRef-unknown" if options.from_pth else None)
    wishes = Wishes(
        folder=options.output,
        photos=options.photos,
        benchmarks=options.benchmarks,
        words=Words(options.title, options.description, options.kind, licence),
        force=options.force,
        precisions=options.precisions,
    )
    try:
        return export(source, wishes)
    except CannotTellError as error:
        if not sys.stdin.isatty():
            raise
        if input(f"{error}.\nReplace it? [y/N] ").strip().lower() not in {"y", "yes"}:
            raise
    return export(source, dataclasses.replace(wishes, force=True))
