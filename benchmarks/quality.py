"""Whether the manifests of the shipped models tell the truth: ``make bench-quality`` (needs ../shared/benchmarks).

Every model is measured anew on Set5, Set14 and BSD100 (or on the sets that are named) at every scale that it has,
beside the bicubic row, which must equal the published one. Ends with exit code 1 when a manifest's PSNR is off by more
than 0.01 dB, or its SSIM by more than 0.001. LPIPS, which would take most of the time, is not measured.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from training.evaluation.cli import doubts
from training.evaluation.datasets import examples_of
from training.evaluation.measure import Row, means, measure
from training.evaluation.methods import SHIPPED, Method, bicubic, method_named, shipped_names
from training.evaluation.report import as_table

BENCHMARKS = Path(__file__).resolve().parents[2] / "shared" / "benchmarks"
SETS = ("Set5", "Set14", "BSD100")
TOLERANCES = {"psnr": 0.01, "ssim": 0.001}
"""By how much a manifest may differ from what is measured: dB, and SSIM's own unit."""


def shipped(scale: int, folder: Path = SHIPPED) -> list[Method]:
    """The models in ``folder`` that enlarge ``scale`` times, each called by its path.

    The path tells the model ``bicubic``, the interpolation as a graph, from the protocol's row of that name.
    """
    return [
        replace(method_named(str(folder / name), scale), name=str(folder / name), title=f"{folder.name}/{name}")
        for name in shipped_names()
        if (folder / name / f"x{scale}.onnx").is_file()
    ]


def lies(rows: Iterable[Row]) -> Iterator[str]:
    """A sentence for each figure that a manifest does not tell, or tells otherwise than it was measured.

    ``rows`` are those of models that are called by their path; each mean is compared with the model's manifest.
    """
    for row in means(rows):
        path = Path(row.method) / "manifest.json"
        told = json.loads(path.read_text("utf-8"))["scales"][str(row.scale)]["measured"].get(row.dataset, {})
        for name, tolerance in TOLERANCES.items():
            measured = getattr(row, name)
            where = f"{name.upper()} on {row.dataset} x{row.scale}"
            if name not in told:
                yield f"{path} does not tell {where}"
            elif not abs(told[name] - measured) <= tolerance:
                yield f"{path} tells {told[name]} as {where}; measured is {measured:.4f}"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"of {', '.join(SETS)}; all unless told")
    sets = parser.parse_args(argv).sets or SETS
    if unknown := set(sets) - set(SETS):
        parser.error(f"there is no set {', '.join(sorted(unknown))}; there are {', '.join(SETS)}")
    if not BENCHMARKS.is_dir():
        print(f"bench-quality: {BENCHMARKS} is not there; make test measures two CC0 pictures instead")
        return 1
    protocol: list[Row] = []
    models: list[Row] = []
    for scale in (2, 4):
        methods = shipped(scale)
        for name in sets:
            examples = examples_of(BENCHMARKS / name, scale)
            protocol += measure([bicubic(scale)], name, examples, scale, lpips=None)
            models += measure(methods, name, examples, scale, lpips=None)
    print(as_table([*protocol, *models]))
    wrong = [*doubts(protocol), *lies(models)]
    for sentence in wrong:
        print(f"bench-quality: {sentence}", file=sys.stderr)
    print(f"bench-quality: {len(wrong) or 'no'} figures are wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
