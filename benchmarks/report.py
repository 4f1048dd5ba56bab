"""What ``make bench`` found, as a table, as plots, and as a part of docs/performance.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.plot import Bar, Point, bars, scatter

if TYPE_CHECKING:
    from benchmarks.speed import Network, Results, Row

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "performance.md"
IMAGES = ROOT / "docs" / "images"
BEGIN = "<!-- What follows, as far as the other mark, is written by make bench BENCH=--docs. -->"
END = "<!-- The end of what make bench writes. -->"

PEERS = (
    ("RLFN-NTIRE", 2.43, 32.10),
    ("SAFMN", 2.68, 32.17),
    ("BSRN", 1.31, 32.35),
    ("VapSR", 1.20, 32.40),
    ("IMDN", 1.16, 32.21),
)
"""Published networks at x4 with their own weights: output megapixels a second on onnxruntime's CPU for every 100
GFLOP/s of the machine's sgemm, measured while this project was designed (2 cores, AVX-512), and PSNR on Set5 in dB."""


@dataclass(frozen=True)
class Loss:
    """Time that does not go into the network."""

    row: Row
    cause: str
    share: float
    """Of the time that the case takes."""

    def sentence(self) -> str:
        seconds = self.share * self.row.seconds
        return (
            f"**{self.cause}**: {self.share:.1%} of {self.row.case.name}, {self.row.case.size} "
            f"({seconds:.2f} s of {self.row.seconds:.2f} s)"
        )


def losses(results: Results) -> list[Loss]:
    """Of the default model (the first that was measured with a service or jobs, else the first), the largest first.

    Where a case is slower than bare onnxruntime by more than its parts account for, the rest is told as such. Each
    cause is told once, where it is largest among the pictures of a megapixel and more: of a small picture nearly
    everything is a beginning.
    """
    if not results.rows:
        return []
    model = next((row for row in results.rows if row.case.way in ("service", "jobs")), results.rows[0]).case.model
    found: dict[str, Loss] = {}
    for row in results.rows:
        case = row.case
        if case.model != model or case.width * case.height < 1_000_000:
            continue
        for cause, share in _causes(row, results.network(model)).items():
            if cause not in found or share > found[cause].share:
                found[cause] = Loss(row, cause, share)
    return sorted(found.values(), key=lambda loss: -loss.share)


def _causes(row: Row, network: Network) -> dict[str, float]:
    way, shares = row.case.way, row.shares
    lost = max(0.0, 1 - row.ratio)
    if way == "library":
        bare = (network.edge / (network.edge - 2 * network.halo)) ** 2
        again = 1 - 1 / row.computed if row.computed is not None else 0.0
        more = 1 - bare / row.computed if row.computed is not None else 0.0
        return {
            "halos, pixels that are computed more than once (library)": again,
            "cutting, queueing and putting together (library)": max(0.0, lost - max(0.0, more)),
        }
    if way == "command line":
        rest = max(0.0, lost - shares.get("decode", 0) - shares.get("else", 0))
        return {
            "decoding before the first tile (command line)": shares.get("decode", 0),
            "starting Python, onnxruntime and the model (command line)": shares.get("else", 0),
            # What encoders take overlaps with what the network does, so that only the whole can be told.
            "writing the file, and what the network loses beside it (command line)": rest,
        }
    if way == "service" and row.case.at_once > 1:
        return {"reception, decoding and encoding beside the network (service)": lost}
    if way == "jobs" and row.case.at_once == 1:
        total = sum(shares.values())
        return {
            "decoding into bands (jobs)": shares.get("decode", 0),
            "putting strips together, result and its tiles (jobs)": shares.get("encode", 0),
            "waiting for tasks (jobs)": max(0.0, 1 - total) if total else 0.0,
        }
    return {}


def _cells(results: Results, row: Row) -> list[str]:
    case, network = row.case, results.network(row.case.model)
    sgemm = results.machine.rates["float32"] or float("nan")
    shares = [f"{row.shares[name]:.0%}" if name in row.shares else "–" for name in ("decode", "inference", "encode")]
    asked = "" if case.target is None else f" ({'≥' if row.holds else 'BELOW'} {case.target:.2f})"
    return [
        f"{case.model} x{case.scale}",
        case.size,
        case.name,
        f"{row.rate / 1e6:.2f}",
        f"{row.rate * network.operations / sgemm:.0%}",
        f"{row.ratio:.2f}{asked}",
        f"{row.frugality:.2f}",
        *shares,
        "–" if row.peak_bytes is None else f"{row.peak_bytes / 1e6:.0f}",
    ]


_HEAD = [
    "model", "picture", "way", "output MP/s", "of sgemm", "of bare", "by core",
    "decode", "inference", "encode", "peak MB",
]  # fmt: skip


def _bare_cells(results: Results, network: Network) -> list[str]:
    sgemm = results.machine.rates["float32"] or float("nan")
    share = network.rate * network.operations / sgemm
    place = f"tile {network.edge}, halo {network.halo}"
    return [
        f"{network.model} x{network.scale}", place, "bare onnxruntime", f"{network.rate / 1e6:.2f}", f"{share:.0%}",
        "1", "1", "–", "–", "–", "–",
    ]  # fmt: skip


def _lines(results: Results) -> list[list[str]]:
    lines = []
    for network in results.networks:
        lines.append(_bare_cells(results, network))
        lines += [_cells(results, row) for row in results.rows if row.case.model == network.model]
    return lines


def text(results: Results) -> str:
    """The table and the three largest losses, for a terminal."""
    lines = [_HEAD, *_lines(results)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    told = [
        "  ".join(
            cell.ljust(width) if column < 3 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return "\n".join([*told, "", *_largest(results)])


def _largest(results: Results) -> list[str]:
    return [f"{number}. {loss.sentence()}" for number, loss in enumerate(losses(results)[:3], 1)]


def markdown(results: Results, *, note: str) -> str:
    """The part of the document between the marks."""
    rounds = f"{results.rounds} round{'s' if results.rounds > 1 else ''}"
    parts = [
        f"{results.began[:10]}, medians of {rounds}. {results.machine.sentence()}.{f' **{note}**' if note else ''}",
        _table([_HEAD, *_lines(results)]),
        "### The three largest losses",
        "\n".join(_largest(results)),
        "### Tiles, bare",
        _table(_tiles(results.networks)),
        "![The share of bare onnxruntime's speed that each way reaches](images/performance.svg)",
        "![PSNR on Set5 against speed, with published networks](images/frontier.svg)",
    ]
    return "\n\n".join(parts)


def _tiles(networks: Sequence[Network]) -> list[list[str]]:
    edges = sorted({edge for network in networks for edge in network.tiles})
    head = ["kept output MP/s by tile's edge", *(str(edge) for edge in edges)]
    lines = [
        [
            f"{network.model} x{network.scale}",
            *(f"{network.tiles[edge] / 1e6:.2f}" if edge in network.tiles else "–" for edge in edges),
        ]
        for network in networks
    ]
    return [head, *lines]


def _table(lines: Sequence[Sequence[str]]) -> str:
    head, *body = (f"| {' | '.join(line)} |" for line in lines)
    return "\n".join([head, "|" + "---|" * len(lines[0]), *body])


def write_plots(results: Results, folder: Path) -> None:
    """``performance.svg`` and, at x4, where the peers are known, ``frontier.svg``."""
    rows = [Bar(f"{row.case.name}, {row.case.size}", row.ratio, row.case.target) for row in results.rows]
    (folder / "performance.svg").write_text(bars("Share of bare onnxruntime's speed", rows))
    sgemm = results.machine.rates["float32"]
    points = [
        Point(network.model, network.rate / 1e6 * 1e11 / sgemm, network.psnr, ours=True)
        for network in results.networks
        if network.psnr is not None and network.scale == 4 and sgemm
    ]
    if points:
        points += [Point(name, speed, psnr, ours=False) for name, speed, psnr in PEERS]
        drawn = scatter("Set5, x4", "output MP/s for every 100 GFLOP/s of sgemm", "PSNR, dB", points)
        (folder / "frontier.svg").write_text(drawn)


def write_docs(results: Results, *, note: str, document: Path = DOCUMENT, images: Path = IMAGES) -> None:
    """Puts table, losses and plots into ``document``, between its marks. Raises ValueError where it has none."""
    whole = document.read_text("utf-8")
    if whole.count(BEGIN) != 1 or whole.count(END) != 1:
        raise ValueError(f"{document} lacks the marks between which the table goes")
    before, rest = whole.split(BEGIN)
    after = rest.split(END)[1]
    document.write_text(f"{before}{BEGIN}\n\n{markdown(results, note=note)}\n\n{END}{after}", "utf-8")
    write_plots(results, images)
