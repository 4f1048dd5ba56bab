"""``make bench-srresnet``: the paper's SRResNet as it would be exported plainly, beside the form that is served.

Plainly: shuffle, PReLU and the 9x9 output layer at the size of the result, as the paper draws them. Served
(``model_export.serving``): the same function with PReLU and output layer before the shuffle. Untrained weights, since
speed does not depend on them; both files are compared value by value first.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import onnxruntime
import torch
from torch import nn

from app.inference.cpus import usable_cpus
from benchmarks.machine import bare_session
from benchmarks.pictures import photo
from model_export.pictures import one_bit_noise
from model_export.serving import for_bytes, served_form, to_onnx
from training.networks.srresnet import SRResNet

LEAST = 1.5
"""How many times as fast the served form is to be."""


@dataclass(frozen=True)
class Comparison:
    """One network in both forms."""

    blocks: int
    scale: int
    plain_ms: float
    served_ms: float
    ratio: float
    """Of the times, the median of the rounds' own."""
    by_core: float
    """The same of processor time, which other work on the machine hardly touches."""
    levels: int
    """The largest difference in any value, of a photo and of 1-bit noise."""


class Taken(NamedTuple):
    """Seconds of one run, by the clock and of processors."""

    seconds: float
    processor: float


def plain_form(network: SRResNet) -> nn.Module:
    """``network`` with the layers of the paper in the paper's order: the same function."""
    plain = copy.deepcopy(network).eval()
    last = plain.last
    plain.last = nn.Sequential(last.convolution, nn.PixelShuffle(2), last.activation, last.tail)  # type: ignore[assignment]
    return plain


def varied(network: SRResNet) -> SRResNet:
    """With slopes and phases that all differ, as after training: an untrained network would hide mistakes in them."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * parameter.abs().mean() * 0.1)
    return network.eval()


def compare(*, blocks: int, scale: int, edge: int, rounds: int) -> Comparison:
    """Both forms on ``edge`` x ``edge``, in alternating rounds."""
    torch.manual_seed(0)
    network = varied(SRResNet(scale, blocks=blocks))
    sessions = [
        bare_session(for_bytes(to_onnx(form)).SerializeToString(), usable_cpus())
        for form in (plain_form(network), served_form(network))
    ]
    pictures = [np.asarray(photo(edge, edge)), one_bit_noise(edge)]
    answers = [[_run(session, picture) for session in sessions] for picture in pictures]
    levels = max(int(np.abs(one.astype(np.int16) - other).max()) for one, other in answers)
    took: list[tuple[Taken, Taken]] = []
    for number in range(rounds + 1):
        plain, served = (_taken(session, pictures[0]) for session in sessions)
        if number:  # the first one warms up
            took.append((plain, served))
    return Comparison(
        blocks, scale,
        plain_ms=statistics.median(plain.seconds for plain, _ in took) * 1000,
        served_ms=statistics.median(served.seconds for _, served in took) * 1000,
        ratio=statistics.median(plain.seconds / served.seconds for plain, served in took),
        by_core=statistics.median(plain.processor / served.processor for plain, served in took),
        levels=levels,
    )  # fmt: skip


def _run(session: onnxruntime.InferenceSession, picture: np.ndarray) -> np.ndarray:
    answer: np.ndarray = session.run(["upscaled"], {"image": picture[np.newaxis]})[0][0]
    return answer


def _taken(session: onnxruntime.InferenceSession, picture: np.ndarray) -> Taken:
    spent, began = time.process_time(), time.perf_counter()
    _run(session, picture)
    return Taken(time.perf_counter() - began, time.process_time() - spent)


def main(arguments: Sequence[str] | None = None) -> int:
    """1 if they differ by more than a level, or the network of 4 blocks (the original's) gains less than is asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edge", type=int, default=128, help="of the picture, in pixels (%(default)s)")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--blocks", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    found = [
        compare(blocks=blocks, scale=scale, edge=given.edge, rounds=given.rounds)
        for blocks in given.blocks
        for scale in (2, 4)
    ]
    if given.json:
        print(json.dumps([asdict(each) for each in found], indent=1))
    else:
        print(f"{given.edge} x {given.edge}, {usable_cpus()} threads, median of {given.rounds} rounds")
        for each in found:
            print(
                f"{each.blocks:>3} blocks x{each.scale}   plain {each.plain_ms:8.1f} ms   "
                f"served {each.served_ms:8.1f} ms   {each.ratio:.2f} times as fast (by core {each.by_core:.2f}), "
                f"{each.levels} level(s) apart"
            )
    held = all(each.levels <= 1 and (each.blocks > 4 or each.ratio >= LEAST) for each in found)
    return 0 if held else 1


if __name__ == "__main__":
    raise SystemExit(main())
