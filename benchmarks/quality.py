"""Whether the manifests of the shipped models tell the truth: ``make bench-quality`` (needs ../shared/benchmarks).

Every model is measured anew on Set5, Set14 and BSD100 at every scale that it has, beside the bicubic row, which must
equal the published one. Ends with exit code 1 when a manifest lies by more than 0.01 dB.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from training.evaluation.cli import doubts
from training.evaluation.datasets import examples_of
from training.evaluation.measure import Row, means, measure
from training.evaluation.methods import BICUBIC, SHIPPED, bicubic, method_named, shipped_names
from training.evaluation.report import as_table

BENCHMARKS = Path(__file__).resolve().parents[2] / "shared" / "benchmarks"
SETS = ("Set5", "Set14", "BSD100")
TOLERANCE = 0.01
"""dB by which a manifest may differ from what is measured."""


def lies(rows: list[Row]) -> list[str]:
    """A sentence for each figure that a manifest tells and that was not measured so."""
    found = []
    for row in means(rows):
        manifest = SHIPPED / row.method / "manifest.json"
        if not manifest.is_file():
            continue
        entry = json.loads(manifest.read_text("utf-8"))["scales"][str(row.scale)]
        told = entry["measured"].get(row.dataset, {}).get("psnr")
        if told is None:
            found.append(f"{manifest} does not tell PSNR on {row.dataset} x{row.scale}")
        elif abs(told - row.psnr) > TOLERANCE:
            found.append(f"{manifest} tells {told} dB on {row.dataset} x{row.scale}, and {row.psnr:.4f} dB is measured")
    return found


def main() -> int:
    if not BENCHMARKS.is_dir():
        print(f"bench-quality: {BENCHMARKS} is not there; a few CC0 pictures are measured by make test")
        return 1
    rows: list[Row] = []
    for scale in (2, 4):
        # The shipped model `bicubic` is the interpolation as a graph; the row beside it is the protocol's own.
        methods = [bicubic(scale)] + [
            method_named(str(SHIPPED / name), scale)
            for name in shipped_names()
            if name != BICUBIC and (SHIPPED / name / f"x{scale}.onnx").is_file()
        ]
        for name in SETS:
            rows += measure(methods, name, examples_of(BENCHMARKS / name, scale), scale, lpips=None)
    print(as_table(rows))
    wrong = [*doubts(rows), *lies([row for row in rows if row.method != BICUBIC])]
    for sentence in wrong:
        print(f"bench-quality: {sentence}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
