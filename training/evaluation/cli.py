"""``chetko-evaluate``: models side by side on data sets, by the protocol of the published comparisons."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from training.checkpoint import CheckpointError, load_checkpoint, network_of
from training.evaluation.datasets import DatasetError, Pair, benchmark_pairs, pictures_in, sharp_pairs
from training.evaluation.restore import Restorer, bicubic_restorer, mean_scores, onnx_restorer, torch_restorer

PUBLISHED_BICUBIC = {
    ("Set5", 2): 33.64, ("Set5", 4): 28.42, ("Set14", 2): 30.22, ("Set14", 4): 25.99,
    ("BSD100", 2): 29.55, ("BSD100", 4): 25.96,
}  # fmt: skip
TOLERANCE = 0.01
"""dB by which our bicubic row may differ from the published one before the protocol itself is in doubt."""


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="chetko-evaluate", description=__doc__.splitlines()[0])
    top.add_argument("models", nargs="*", type=Path, metavar="MODEL", help="model folder, .onnx or .pt file")
    top.add_argument("--data", nargs="+", required=True, type=Path, metavar="DIR",
                     help="data sets: a folder with HR/ and LR_x2/, LR_x4/, or a folder of sharp pictures")  # fmt: skip
    top.add_argument("--scale", type=int, choices=(2, 4), default=4)
    top.add_argument("--grey-as-rgb", action="store_true",
                     help="treat one-channel files as RGB, as most results since 2017 do (Set14 +0.09 dB)")  # fmt: skip
    top.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return top


def restorer_for(model: Path, scale: int) -> tuple[str, Restorer]:
    """(name, function) of a checkpoint, an ONNX file or a model folder.

    Raises ``CheckpointError`` when there is no such model at this scale.
    """
    if model.suffix == ".pt":
        state = load_checkpoint(model)
        if state["network_options"]["scale"] != scale:
            raise CheckpointError(f"{model} enlarges x{state['network_options']['scale']}, not x{scale}")
        return model.parent.name, torch_restorer(network_of(state))
    path = model / f"x{scale}.onnx" if model.is_dir() else model
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist")
    return model.stem if model.is_file() else model.name, onnx_restorer(path)


def pairs_of(folder: Path, scale: int) -> list[Pair]:
    """The (LR, HR) pairs of a data set folder of either kind. Raises ``DatasetError`` when it holds no picture."""
    if (folder / "HR").is_dir():
        return benchmark_pairs(folder, scale)
    paths = pictures_in(folder)
    if not paths:
        raise DatasetError(f"{folder} holds no picture")
    return sharp_pairs(paths, scale)


def table(options: argparse.Namespace) -> dict[str, dict[str, dict[str, float]]]:
    """{model: {set: scores}}, bicubic first."""
    rows: dict[str, dict[str, dict[str, float]]] = {}
    restorers = [("bicubic", bicubic_restorer(options.scale))]
    restorers += [restorer_for(model, options.scale) for model in options.models]
    for folder in options.data:
        pairs = pairs_of(folder, options.scale)
        for name, restore in restorers:
            rows.setdefault(name, {})[folder.name] = mean_scores(
                restore, pairs, options.scale, grey_as_rgb=options.grey_as_rgb
            )
    return rows


def protocol_doubts(bicubic: dict[str, dict[str, float]], scale: int, *, grey_as_rgb: bool) -> Iterator[str]:
    """A sentence for each set whose bicubic row differs from the published one."""
    for name, row in bicubic.items():
        published = PUBLISHED_BICUBIC.get((name, scale))
        if published and not grey_as_rgb and abs(row["psnr"] - published) > TOLERANCE:
            yield f"the protocol is off: bicubic x{scale} on {name} is {row['psnr']:.3f} dB, published {published} dB"


def main(argv: list[str] | None = None) -> int:
    """The command ``chetko-evaluate``; exit code 3 says that the bicubic row differs from the published one."""
    options = parser().parse_args(argv)
    try:
        rows = table(options)
    except (CheckpointError, DatasetError, ValueError) as error:
        print(f"chetko-evaluate: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps({"scale": options.scale, "rows": rows}, indent=2))
    else:
        sets = [folder.name for folder in options.data]
        print(f"x{options.scale:<11}" + "".join(f"{name + ' dB':>12}{'SSIM':>8}" for name in sets))
        for name, row in rows.items():
            print(f"{name:<12}" + "".join(f"{row[s]['psnr']:12.3f}{row[s]['ssim']:8.4f}" for s in sets))
    doubts = list(protocol_doubts(rows["bicubic"], options.scale, grey_as_rgb=options.grey_as_rgb))
    for sentence in doubts:
        print(f"chetko-evaluate: {sentence}", file=sys.stderr)
    return 3 if doubts else 0


if __name__ == "__main__":
    sys.exit(main())
