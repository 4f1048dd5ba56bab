"""``make bench``: every way that a picture can go, beside bare onnxruntime on the same network, in one run.

First the rate at which the machine multiplies matrices. Then rounds: each takes every case once, with a piece of bare
onnxruntime before and after it, so that what else the machine does weighs on both sides of each ratio. Told are the
medians of the rounds. Clients and workers run on the same machine and share its cores with the service.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from app.inference.manifest import Manifest
from app.inference.registry import Registry, model_folders
from app.settings import Settings
from benchmarks import report
from benchmarks.apart import Apart
from benchmarks.machine import Machine, describe
from benchmarks.ways import Bare, Case, Sample, find, opened

WAYS = ("library", "command line", "service", "jobs")
SMALL, MIDDLE, PHOTO, LARGE = (256, 256), (512, 512), (1000, 1000), (6000, 4000)
"""Sizes in pixels. 1000 x 1000 becomes 16 megapixels, the largest that the service answers at once."""
BARE_SECONDS = 1.0


@dataclass(frozen=True)
class Network:
    """A model at its scale, bare."""

    model: str
    scale: int
    edge: int
    """Of the best tile, halo included."""
    halo: int
    tiles: dict[int, float]
    """Edge of each tile that was tried -> output pixels a second."""
    rate: float
    """Output pixels a second of the best tile, the median of all pieces that ran between the cases."""
    frugality: float
    """Output pixels for a second of a core."""
    operations: float
    """Operations for an output pixel; a multiplication and an addition are two."""
    psnr: float | None
    """On Set5, in dB, as its manifest tells it."""


@dataclass(frozen=True)
class Row:
    """A case and the medians of its rounds."""

    case: Case
    rate: float
    """Output pixels a second."""
    ratio: float
    """To bare onnxruntime's in the same round."""
    frugality: float
    """The same of output pixels for a second of a core: only work that is done besides counts here, and no core that
    waits. What else the machine computes hardly touches it."""
    seconds: float
    shares: dict[str, float]
    """Of ``decode``, ``inference`` and ``encode`` and, where pictures go one after another, what ``else`` there was, in
    the time that it took; each of them runs beside the others."""
    peak_bytes: int | None
    computed: float | None = None
    """Pixels that the network computed for each one that was kept, where it is known."""

    @property
    def holds(self) -> bool | None:
        """Whether it is as fast as asked; None where nothing is asked."""
        return None if self.case.target is None else self.ratio >= self.case.target


@dataclass(frozen=True)
class Taken:
    """One measurement of a case."""

    sample: Sample
    around: tuple[Sample, Sample]
    """Bare onnxruntime, before and after."""

    @property
    def ratio(self) -> float:
        return self.sample.rate / statistics.mean(piece.rate for piece in self.around)

    @property
    def frugality(self) -> float:
        return self.sample.frugality / statistics.mean(piece.frugality for piece in self.around)


@dataclass(frozen=True)
class Results:
    """All of one run."""

    began: str
    rounds: int
    machine: Machine
    networks: list[Network]
    rows: list[Row]

    def network(self, model: str) -> Network:
        return next(each for each in self.networks if each.model == model)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class _Wanted(NamedTuple):
    way: str
    size: tuple[int, int]
    form: str = ""
    at_once: int = 1
    target: float | None = None
    every: bool = False
    """Of every model, not of the default one alone."""
    long: bool = False
    """Takes minutes."""


_PLAN = (
    _Wanted("library", SMALL, target=0.90, every=True),
    _Wanted("library", PHOTO, target=0.90, every=True),
    _Wanted("command line", PHOTO, "tiff", every=True),
    _Wanted("command line", PHOTO, "png", every=True),
    _Wanted("command line", PHOTO, "jpeg", every=True),
    _Wanted("command line", SMALL, "tiff"),
    _Wanted("service", MIDDLE, "jpeg", target=1 / 1.15),
    _Wanted("service", MIDDLE, "png", target=1 / 1.35),
    _Wanted("service", SMALL, "jpeg", 1),
    _Wanted("service", SMALL, "jpeg", 4),
    _Wanted("service", SMALL, "jpeg", 16),
    _Wanted("service", PHOTO, "jpeg", 1),
    _Wanted("service", PHOTO, "jpeg", 4, target=0.85),
    _Wanted("service", PHOTO, "jpeg", 16, target=0.85, long=True),
    _Wanted("jobs", SMALL, "jpeg", 1),
    _Wanted("jobs", SMALL, "jpeg", 2),
    _Wanted("jobs", PHOTO, "jpeg", 1),
    _Wanted("jobs", PHOTO, "jpeg", 2),
    _Wanted("library", LARGE, target=0.90, long=True),
    _Wanted("command line", LARGE, "tiff", target=0.80, long=True),
    _Wanted("jobs", LARGE, "tiff", 1, long=True),
    _Wanted("jobs", LARGE, "tiff", 2, long=True),
)


MOST_WORK = 2_000_000
"""Multiply-adds for an input pixel of what is measured unasked: VDSR, which computes at the large size, has 10.6
million at x4."""


def all_cases(models: Sequence[str], *, default: str, scale: int, quick: bool) -> list[Case]:
    """What is measured of each model: of the default one everything, of the others the library and the command line
    up to a megapixel, without targets. ``quick`` leaves out what takes minutes."""
    return [
        Case(one.way, model, scale, *one.size, one.form, one.at_once, target=one.target if model == default else None)
        for model in models
        for one in _PLAN
        if (one.every or model == default) and not (quick and one.long)
    ]


def run(cases: Sequence[Case], *, rounds: int, machine: Machine, tell: Callable[[str], None]) -> Results:
    """Measures ``cases``; ``tell`` gets a line for each measurement."""
    began = datetime.now(UTC).isoformat(timespec="seconds")
    models = list(dict.fromkeys((case.model, case.scale) for case in cases))
    with ExitStack() as stack:
        bare = {model: stack.enter_context(Apart(Bare, model, scale)) for model, scale in models}
        tiles = {model: each("choose", 3, BARE_SECONDS / 3) for model, each in bare.items()}
        pieces: dict[str, list[Sample]] = {model: [] for model in bare}
        taken: dict[Case, list[Taken]] = {case: [] for case in cases}
        ways = stack.enter_context(opened(list(cases)))
        for number in range(rounds):
            for case in cases:
                way = ways[case.way, case.at_once if case.way == "jobs" else 1]
                before = bare[case.model]("piece", BARE_SECONDS)
                sample = way.measure(case)
                found = Taken(sample, (before, bare[case.model]("piece", BARE_SECONDS)))
                pieces[case.model] += found.around
                taken[case].append(found)
                tell(
                    f"{number + 1}/{rounds} {case.model} x{case.scale}  {case.size:>9}  {case.name:<28}"
                    f"{sample.rate / 1e6:7.2f} MP/s  {found.ratio:.2f} of bare, by core {found.frugality:.2f}"
                )
        networks = [_network(model, scale, bare[model]("tile"), tiles[model], pieces[model]) for model, scale in models]
    return Results(began, rounds, machine, networks, [_row(case, found) for case, found in taken.items()])


def _network(
    model: str, scale: int, tile: tuple[int, int], tiles: dict[int, float], pieces: Sequence[Sample]
) -> Network:
    entry = find(model, scale).entry
    operations = 2 * entry.multiply_adds_per_input_pixel / scale**2
    psnr = entry.measured.get("Set5", {}).get("psnr")
    return Network(
        model, scale, *tile, tiles,
        rate=statistics.median(piece.rate for piece in pieces),
        frugality=statistics.median(piece.frugality for piece in pieces),
        operations=operations, psnr=psnr,
    )  # fmt: skip


def _row(case: Case, found: Sequence[Taken]) -> Row:
    samples = [each.sample for each in found]
    parts = {
        name: statistics.median(sample.parts.get(name, 0.0) / sample.seconds for sample in samples)
        for name in dict.fromkeys(name for sample in samples for name in sample.parts)
    }
    if case.way in ("library", "command line") or (case.way == "service" and case.at_once == 1):
        parts["else"] = max(0.0, 1 - sum(parts.values()))
    peaks = [sample.peak_bytes for sample in samples if sample.peak_bytes is not None]
    return Row(
        case,
        rate=statistics.median(sample.rate for sample in samples),
        ratio=statistics.median(each.ratio for each in found),
        frugality=statistics.median(each.frugality for each in found),
        seconds=statistics.median(sample.seconds for sample in samples),
        shares=parts,
        peak_bytes=max(peaks) if peaks else None,
        computed=samples[0].computed,
    )


def main() -> int:
    """1 if something is slower than is asked for."""
    settings = Settings()
    registry = Registry.load(model_folders(settings.models_dir))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round without the 24-megapixel picture")
    parser.add_argument("--rounds", type=int, help="how often each case is measured (3, quick 1)")
    parser.add_argument(
        "--models",
        nargs="+",
        metavar="NAME",
        help=f"instead of all that have the scale, up to {MOST_WORK:,} multiply-adds for an input pixel",
    )
    parser.add_argument("--scale", type=int, default=4, choices=(2, 4))
    parser.add_argument("--only", nargs="+", choices=WAYS, metavar="WAY", help=f"of {', '.join(WAYS)}")
    parser.add_argument("-o", "--output", type=Path, default=Path(".cache/bench"), help="folder (%(default)s)")
    parser.add_argument("--docs", action="store_true", help="also write table and plots into docs/performance.md")
    parser.add_argument("--note", default="", help="what a reader must know of this run, such as what ran beside it")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that services and workers end with it
    models = options.models or _models(registry.models(), options.scale)
    cases = all_cases(models, default=registry.default, scale=options.scale, quick=options.quick)
    cases = [case for case in cases if options.only is None or case.way in options.only]
    machine = describe(seconds=1 if options.quick else 4)
    print(machine.sentence(), flush=True)
    rounds = options.rounds or (1 if options.quick else 3)
    results = run(cases, rounds=rounds, machine=machine, tell=lambda line: print(line, flush=True))
    print()
    print(report.text(results))
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "bench.json").write_text(json.dumps(results.to_json(), indent=1) + "\n")
    report.write_plots(results, options.output)
    if options.docs:
        report.write_docs(results, note=options.note)
    print(f"\n{options.output}: bench.json and plots")
    return 0 if all(row.holds is not False for row in results.rows) else 1


def _models(manifests: Sequence[Manifest], scale: int) -> list[str]:
    """All that have the scale but those that a megapixel takes minutes: they are measured where they are named."""
    return [
        manifest.name
        for manifest in manifests
        if scale in manifest.scales and manifest.scales[scale].multiply_adds_per_input_pixel <= MOST_WORK
    ]


if __name__ == "__main__":
    raise SystemExit(main())
