"""Every shipped model in bfloat16 by OpenVINO beside float32 by onnxruntime: quality, speed and seams, in one run.

Needs ``chetko[openvino]`` in an environment of its own, a processor that multiplies bfloat16, and ../shared/benchmarks.
All models are measured, whatever their manifests allow. Ends with exit code 1 if one whose manifest allows bfloat16
loses more than 0.1 dB on a set or is not 1.1 times as fast.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.imaging.likeness import luma, psnr, shaved
from app.imaging.picture import Picture, Pixels
from app.inference.cpus import usable_cpus
from app.inference.engine import Engine
from app.inference.errors import PlatformUnavailableError
from app.inference.manifest import Manifest
from app.inference.registry import SHIPPED, Registry, Variant
from app.inference.upscale import upscale
from benchmarks.pictures import photo
from model_export.pictures import proving_set
from training.evaluation.datasets import examples_of

BENCHMARKS = Path(__file__).resolve().parents[2] / "shared" / "benchmarks"
SETS = ("Set5", "Set14")
MOST_LOSS = 0.1
"""dB that bfloat16 may lose on any set, as ``chetko-export`` has it."""
LEAST_SPEEDUP = 1.1
TILE = 64
"""Edge of the kept squares that are compared with the whole picture."""


@dataclass(frozen=True)
class Comparison:
    """One model at one scale."""

    name: str
    scale: int
    allowed: bool
    """By its manifest."""
    psnr: dict[str, tuple[float, float]]
    """Set -> dB in float32 and in bfloat16."""
    levels: dict[str, int]
    """Kind of picture -> the largest difference of the two in any value."""
    between: float
    """dB between the two on the sets: the least of all pictures."""
    seams: tuple[int, int]
    """The largest difference of tiles from the whole picture in any value, in float32 and in bfloat16."""
    milliseconds: tuple[float, float]
    """Of a run, float32 and bfloat16: the medians of the rounds."""
    speedup: float
    """The median of the rounds' own ratios."""

    @property
    def loss(self) -> float:
        """dB on the set that loses most."""
        return max(exact - quick for exact, quick in self.psnr.values())

    @property
    def good(self) -> bool:
        """Whether bfloat16 is worth allowing."""
        return self.loss <= MOST_LOSS and self.speedup >= LEAST_SPEEDUP


class Bench:
    """Both ways, side by side in one process: their runs alternate, and neither has a thread while the other runs."""

    def __init__(self) -> None:
        registry = Registry.load([SHIPPED])
        everything = Registry((_allowing(manifest), SHIPPED / manifest.name) for manifest in registry.models())
        self.exact = Engine(registry, platform="cpu", precision="float32")
        self.quick = Engine(everything, platform="cpu", precision="bfloat16")

    def compare(self, manifest: Manifest, scale: int, sets: Sequence[str], *, edge: int, rounds: int) -> Comparison:
        ways = [(engine, engine.registry.find(manifest.name, scale)) for engine in (self.exact, self.quick)]
        scores: dict[str, tuple[float, float]] = {}
        apart: dict[str, int] = {}
        between = float("inf")
        for name in sets:
            found = []
            for example in examples_of(BENCHMARKS / name, scale):
                small = example.small if example.small.ndim == 3 else example.small[:, :, np.newaxis]
                made = [enlarged(small, *way) for way in ways]
                sharp = example.large if example.large.ndim == 3 else example.large[:, :, np.newaxis]
                sharp = sharp[: made[0].shape[0], : made[0].shape[1]]
                found.append([psnr(*(shaved(luma(each), scale) for each in (sharp, one))) for one in made])
                apart[name] = max(apart.get(name, 0), levels(*made))
                between = min(between, _decibels(*made))
            exact, quick = np.mean(found, axis=0)
            scores[name] = float(exact), float(quick)
        for kind, picture in proving_set([]).items():
            apart[kind] = levels(*(enlarged(picture, *way) for way in ways))
        seams = tuple(
            max(
                levels(enlarged(picture, *way), enlarged(picture, *way, tile=TILE))
                for picture in (np.asarray(photo(300, 200)), *proving_set([]).values())
            )
            for way in ways
        )
        took = list(self.rounds(ways, edge, rounds))
        return Comparison(
            manifest.name, scale, ways[0][1].entry.allows_bf16, scores, apart, between, (seams[0], seams[1]),
            (statistics.median(one for one, _ in took), statistics.median(other for _, other in took)),
            statistics.median(one / other for one, other in took),
        )  # fmt: skip

    @staticmethod
    def rounds(ways: list[tuple[Engine, Variant]], edge: int, rounds: int) -> Iterator[tuple[float, float]]:
        """Milliseconds of a run of each way on ``edge`` x ``edge``, of ``rounds`` rounds that alternate."""
        graphs = [engine.graph(variant, "uint8") for engine, variant in ways]
        picture = np.asarray(photo(edge, edge))[np.newaxis]
        for number in range(rounds + 1):
            took = []
            for graph in graphs:
                began = time.perf_counter()
                graph.run(picture)
                took.append((time.perf_counter() - began) * 1000)
            if number:  # the first one warms up
                yield took[0], took[1]


def _allowing(manifest: Manifest) -> Manifest:
    """``manifest`` with leave for bfloat16 at every scale."""
    scales = {
        scale: entry.model_copy(update={"precisions": {**entry.precisions, "bfloat16": {}}})
        for scale, entry in manifest.scales.items()
    }
    return manifest.model_copy(update={"scales": scales})


def enlarged(pixels: Pixels, engine: Engine, variant: Variant, *, tile: int | None = None) -> Pixels:
    """``pixels``, (H, W, C), by the service's own path, in tiles of ``tile`` kept pixels if told."""
    picture = Picture(np.ascontiguousarray(pixels), None, "png")
    return np.concatenate(list(upscale(picture, variant, engine, tile=tile).bands()))


def levels(one: Pixels, other: Pixels) -> int:
    """The largest difference of two 8-bit pictures in any value."""
    return int(np.abs(one.astype(np.int16) - other).max())


def _decibels(one: Pixels, other: Pixels) -> float:
    """All values as they are, no luma."""
    return psnr(one.astype(np.float64), other.astype(np.float64))


def _table(found: Sequence[Comparison], sets: Sequence[str]) -> str:
    heads = [f"{name}, dB: float32 / bfloat16" for name in sets]
    head = ["model", *heads, "ms: float32 / bfloat16", "times as fast", "levels apart", "least dB apart", "seams", ""]
    lines = [head, ["---"] * len(head)]
    for each in found:
        apart = {"photographs": max(each.levels[name] for name in sets)}
        apart |= {kind: level for kind, level in each.levels.items() if kind not in sets}
        verdict = "allowed" if each.allowed else "not allowed"
        lines.append([
            f"`{each.name}` x{each.scale}",
            *(f"{exact:.3f} / {quick:.3f}" for exact, quick in (each.psnr[name] for name in sets)),
            f"{each.milliseconds[0]:,.0f} / {each.milliseconds[1]:,.0f}",
            f"**{each.speedup:.2f}**",
            ", ".join(f"{kind} {level}" for kind, level in apart.items()),
            f"{each.between:.1f}",
            f"{each.seams[0]} / {each.seams[1]}",
            verdict if each.good == each.allowed else f"{verdict}, AGAINST WHAT WAS MEASURED",
        ])  # fmt: skip
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.openvino", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", metavar="NAME", help="all unless told")
    parser.add_argument("--scales", nargs="+", type=int, metavar="N", help="all unless told")
    parser.add_argument("--sets", nargs="+", default=SETS, metavar="SET", help=f"{' '.join(SETS)} unless told")
    parser.add_argument("--edge", type=int, default=512, help="of the picture that is timed, in pixels (%(default)s)")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args(argv)
    try:
        bench = Bench()
    except PlatformUnavailableError as error:
        print(f"benchmarks.openvino: {error}", file=sys.stderr)
        return 1
    found = []
    for manifest in bench.exact.registry.models():
        for scale in sorted(manifest.scales):
            if (given.models and manifest.name not in given.models) or (given.scales and scale not in given.scales):
                continue
            found.append(bench.compare(manifest, scale, given.sets, edge=given.edge, rounds=given.rounds))
            print(_table(found[-1:], given.sets).splitlines()[-1], file=sys.stderr, flush=True)
    print(f"{usable_cpus()} threads, {given.edge} x {given.edge}, medians of {given.rounds} alternating rounds\n")
    print(_table(found, given.sets))
    return 0 if all(each.good for each in found if each.allowed) else 1


if __name__ == "__main__":
    sys.exit(main())
