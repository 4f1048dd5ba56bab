"""``chetko-evaluate``: methods side by side on data sets, by the protocol of the published comparisons."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from training.checkpoint import CheckpointError
from training.evaluation.datasets import DatasetError, examples_of
from training.evaluation.lpips import distance
from training.evaluation.measure import Row, means, measure, published_rows
from training.evaluation.methods import BICUBIC, bicubic, methods_named, shipped_names
from training.evaluation.page import Page
from training.evaluation.report import as_csv, as_json, as_markdown, as_table
from training.weights import WeightsError

PUBLISHED_BICUBIC = {
    ("Set5", 2): 33.64, ("Set5", 4): 28.42, ("Set14", 2): 30.22, ("Set14", 4): 25.99,
    ("BSD100", 2): 29.55, ("BSD100", 4): 25.96,
}  # fmt: skip
TOLERANCE = 0.01
"""dB by which our bicubic row may differ from the published one before the protocol itself is in doubt."""

TEXT = Path(__file__).parent / "text"
"""The held-out text set: pages rendered in fonts that no training page uses."""


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="chetko-evaluate", description=__doc__.splitlines()[0])
    top.add_argument(
        "models", nargs="*", metavar="MODEL",
        help="a shipped model or a classical method by name, a model folder, an .onnx or .pt file",
    )  # fmt: skip
    top.add_argument("--shipped", action="store_true", help="every model that Chetko ships")
    top.add_argument("--data", nargs="+", required=True, type=Path, metavar="DIR",
                     help="data sets: a folder with HR/ and LR_x2/, LR_x4/, a folder of sharp pictures, or the word "
                          "text for Chetko's held-out pages of text")  # fmt: skip
    top.add_argument("--scale", nargs="+", type=int, choices=(2, 4), default=[4], help="factors to measure")
    top.add_argument("--grey-as-rgb", action="store_true",
                     help="a second row per method that treats one-channel files as RGB, as most results since 2017 "
                          "do (Set14 +0.09 dB)")  # fmt: skip
    top.add_argument("--published", type=Path, metavar="FILE",
                     help="figures that others computed, as in ../shared/benchmarks")  # fmt: skip
    top.add_argument("--lpips-weights", type=Path, metavar="FILE",
                     help="lpips_alex.safetensors (default: this machine's, or the ONNX that is shipped)")  # fmt: skip
    top.add_argument("-o", "--output", nargs="+", type=Path, default=[], metavar="FILE",
                     help="also write .csv, .json, .md, or .html (one page with the pictures)")  # fmt: skip
    top.add_argument("--page-pictures", type=int, default=14, metavar="N",
                     help="of how many pictures of each set the page shows a piece (default 14)")  # fmt: skip
    return top


def evaluate(options: argparse.Namespace, page: Page) -> list[Row]:
    """A row per picture and method, bicubic first, published ones last.

    Raises ``CheckpointError``, ``DatasetError`` and ``WeightsError``.
    """
    lpips = distance(options.lpips_weights)
    names = [name for name in options.models if name != BICUBIC]
    names += [name for name in shipped_names() if options.shipped and name not in (*names, BICUBIC)]
    rows: list[Row] = []
    for scale in dict.fromkeys(options.scale):
        methods = [bicubic(scale), *methods_named(names, scale)]
        for folder in options.data:
            place = TEXT if folder == Path("text") and not folder.exists() else folder
            examples = examples_of(place, scale)
            name = place.resolve().name
            page.expect(name, scale, examples)
            rows += measure(
                methods, name, examples, scale, lpips=lpips, grey_as_rgb=options.grey_as_rgb, seen=page.seen
            )
            if options.published:
                rows += published_rows(options.published, name, examples, scale)
    return rows


def doubts(rows: Sequence[Row]) -> Iterator[str]:
    """A sentence for each set and scale whose bicubic row differs from the published one."""
    for row in means(rows):
        published = PUBLISHED_BICUBIC.get((row.dataset, row.scale))
        if row.method == BICUBIC and published and abs(row.psnr - published) > TOLERANCE:
            yield (
                f"the protocol is off: bicubic x{row.scale} on {row.dataset} is {row.psnr:.3f} dB, published "
                f"{published} dB"
            )


def main(argv: list[str] | None = None) -> int:
    """The command ``chetko-evaluate``; exit code 3 says that the bicubic row differs from the published one."""
    options = parser().parse_args(argv)
    for path in options.output:
        if path.suffix not in (".csv", ".json", ".md", ".html"):
            parser().error(f"{path}: the ending says what to write: .csv, .json, .md or .html")
    page = Page(options.page_pictures if any(path.suffix == ".html" for path in options.output) else 0)
    try:
        rows = evaluate(options, page)
        doubtful = list(doubts(rows))
        for path in options.output:
            path.write_text(_content(path, rows, doubtful, page), encoding="utf-8")
    except (CheckpointError, DatasetError, ImportError, OSError, ValueError, WeightsError) as error:
        print(f"chetko-evaluate: {error}", file=sys.stderr)
        return 1
    print(as_table(rows))
    for sentence in doubtful:
        print(f"chetko-evaluate: {sentence}", file=sys.stderr)
    return 3 if doubtful else 0


def _content(path: Path, rows: Sequence[Row], doubtful: Sequence[str], page: Page) -> str:
    if path.suffix == ".csv":
        return as_csv(rows)
    if path.suffix == ".json":
        return as_json(rows, doubtful)
    return page.html(rows, doubtful) if path.suffix == ".html" else as_markdown(rows)


if __name__ == "__main__":
    sys.exit(main())
