"""``chetko-export``: a checkpoint becomes a model that the service can serve, with a numerical proof."""

from __future__ import annotations

import argparse
import math
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model_export.manifest import file_entry, merge_scale
from model_export.measure import (
    activation_bytes_per_pixel,
    difference,
    measured_halo,
    multiply_adds,
    parameters,
)
from model_export.pictures import proving_set
from model_export.serving import OPSET, Served8, ServedFloat, round_to_half, sha256, write_onnx
from model_export.srvgg import to_srvgg
from training.checkpoint import CheckpointError, load_checkpoint, network_of
from training.evaluation.datasets import DatasetError, benchmark_pairs, sharp_pairs
from training.evaluation.restore import mean_scores, onnx_restorer, torch_restorer

EXAMPLES = Path(__file__).parents[1] / "app" / "web" / "examples"


class ExportError(Exception):
    """The export's proof failed; nothing was written."""


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="chetko-export", description=__doc__.splitlines()[0])
    top.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="a .pt file of chetko-train")
    top.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="the model's folder; its name is the model's name"
    )
    top.add_argument("--to-pth", type=Path, metavar="FILE", help="also write the weights as an SRVGGNetCompact .pth")
    top.add_argument("--photos", type=Path, default=EXAMPLES, metavar="DIR", help="photos to prove parity and halo on")
    top.add_argument(
        "--benchmarks", type=Path, metavar="DIR", help="folder of Set5, Set14, ... to measure for the manifest"
    )
    top.add_argument("--hardware", default="", help="what the model was trained on, for the manifest")
    top.add_argument("--data", default="", help="what the model was trained with, for the manifest")
    return top


def export(options: argparse.Namespace, state: dict[str, Any]) -> Path:
    """Writes x<scale>.onnx, its float twin and the manifest into ``options.output``; returns the manifest's path.

    Raises ``ExportError`` if the files do not compute what PyTorch computes; then nothing is changed.
    """
    network = round_to_half(network_of(state))
    scale = int(state["network_options"]["scale"])
    photos = sorted(options.photos.glob("*.jpg")) + sorted(options.photos.glob("*.png"))
    pictures = proving_set(photos)
    with tempfile.TemporaryDirectory() as scratch:
        exact, twin = Path(scratch) / f"x{scale}.onnx", Path(scratch) / f"x{scale}.float.onnx"
        write_onnx(Served8(network), torch.zeros(1, 40, 32, 3, dtype=torch.uint8), exact)
        write_onnx(ServedFloat(network), torch.zeros(1, 40, 32, 3), twin)
        restore, reference, float_restore = onnx_restorer(exact), torch_restorer(network), float_restorer(twin)
        parity = {name: difference(restore(image), reference(image)) for name, image in pictures.items()}
        float_parity = {name: difference(float_restore(image), reference(image)) for name, image in pictures.items()}
        worst = max(*parity.values(), *float_parity.values())
        print(f"parity with PyTorch: at most {worst} level(s) on {len(pictures)} pictures")
        if worst > 1:
            raise ExportError(f"the exported graph differs from PyTorch by {worst} levels: {parity} {float_parity}")
        halo = measured_halo(restore, pictures.values(), scale, network.receptive_field_radius)
        print(f"halo {halo} px (receptive-field radius {network.receptive_field_radius:g} px)")
        measured = measure(restore, scale, options.benchmarks)
        options.output.mkdir(parents=True, exist_ok=True)
        for made in (exact, twin):
            shutil.copyfile(made, options.output / made.name)
    exact, twin = options.output / exact.name, options.output / twin.name
    entry = {
        "parameters": parameters(network),
        "multiply_adds_per_input_pixel": multiply_adds(network),
        "halo": halo,
        "receptive_field_radius": network.receptive_field_radius,
        "activation_bytes_per_input_pixel": activation_bytes_per_pixel(exact),
        "opset": OPSET,
        "files": {"uint8": file_entry(exact, sha256(exact)), "float": file_entry(twin, sha256(twin))},
        "precisions": ["float32"],
        "training": {
            "recipe": state["recipe"], "data": options.data, "steps": state["step"],
            "hours": round(state["seconds"] / 3600, 3), "hardware": options.hardware,
        },
        "measured": measured,
        "parity": {"max_levels": worst, "pictures": sorted(pictures)},
    }  # fmt: skip
    architecture = {"network": state["network"]} | {k: v for k, v in state["network_options"].items() if k != "scale"}
    return merge_scale(options.output, scale, entry, architecture=architecture)


def float_restorer(path: Path) -> Any:
    """The float twin at ``path`` as a function of 8-bit pictures, to compare it with the others."""
    import onnxruntime  # noqa: PLC0415  (only this needs it)

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def restore(image: np.ndarray) -> np.ndarray:
        out = session.run(None, {"image": image[None].astype(np.float32) / np.float32(255.0)})[0][0]
        return np.rint(out * np.float32(255.0)).astype(np.uint8)

    return restore


def measure(restore: Any, scale: int, benchmarks: Path | None) -> dict[str, dict[str, float]]:
    """PSNR and SSIM on the repository's sharp examples and on each set under ``benchmarks``."""
    table = {"examples": mean_scores(restore, sharp_pairs([EXAMPLES / "dog.jpg", EXAMPLES / "city.jpg"], scale), scale)}
    for folder in sorted(path for path in benchmarks.iterdir() if path.is_dir()) if benchmarks else []:
        table[folder.name] = mean_scores(restore, benchmark_pairs(folder, scale), scale)
    for name, scores in table.items():
        print(f"{name:>10}  PSNR {scores['psnr']:.3f} dB  SSIM {scores['ssim']:.4f}")
        if not math.isfinite(scores["psnr"]):
            raise ExportError(f"PSNR on {name} is {scores['psnr']}")
    return table


def main(argv: list[str] | None = None) -> int:
    """The command ``chetko-export``; returns the exit code."""
    options = parser().parse_args(argv)
    if not options.output and not options.to_pth:
        parser().error("say where to: -o DIR for the service, --to-pth FILE for other programs, or both")
    try:
        state = load_checkpoint(options.checkpoint)
        if options.to_pth:
            torch.save({"params": to_srvgg(network_of(state))}, options.to_pth)
            print(f"{options.to_pth}: SRVGGNetCompact")
        if options.output:
            print(export(options, state))
    except (CheckpointError, DatasetError, ExportError, TypeError, ValueError) as error:
        print(f"chetko-export: {error}", file=sys.stderr)
        return 1
    return 0
