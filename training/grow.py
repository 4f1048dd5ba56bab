"""``python -m training.grow``: a wider or deeper ``fast`` that begins with what a smaller one has learned.

T. Chen, I. Goodfellow, J. Shlens, "Net2Net: accelerating learning via knowledge transfer", ICLR 2016. A larger network
that begins at random spends its first hours on what a smaller one knew. Here it begins as the smaller one:

- wider: the new features are random, and no old one looks at them yet (weights of 0, which have a gradient), so the
  picture is the same;
- deeper: new layers pass their features on. A LeakyReLU after each makes what is negative smaller still, so the picture
  is not quite the same. After the second convolution, where they go, that costs least: of 31.52 dB on Set5 one more
  layer leaves 31.18 and three 31.10; after the fourth 27.8 and 27.4.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from training.checkpoint import (
    CheckpointError,
    initial_weights,
    load_checkpoint,
    network_of,
    save_checkpoint,
    take_matching,
)
from training.networks.fast import Fast

AFTER = 2
"""Convolutions before the new ones."""


@torch.no_grad()
def grown(small: Fast, *, layers: int, filters: int, seed: int = 0) -> Fast:
    """A network of ``layers`` convolutions, ``filters`` features wide, that begins as ``small``.

    Raises ``ValueError`` where that would be smaller than ``small``, or ``small`` has fewer than 3 layers.
    """
    if layers < small.options["layers"] or filters < small.options["filters"]:
        raise ValueError(
            f"{layers} layers of {filters} filters are no growth of {small.options['layers']} of "
            f"{small.options['filters']}"
        )
    before = _convolutions(small)
    if len(before) <= AFTER:
        raise ValueError(f"a network of {len(before)} layers has no place for more")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        large = Fast(small.scale, layers, filters)
    sources: list[nn.Conv2d | None] = [*before[:AFTER], *[None] * (layers - len(before)), *before[AFTER:]]
    for convolution, source in zip(_convolutions(large), sources, strict=True):
        known = source if source is not None else _identity(before[0].out_channels)
        out, taken = known.weight.shape[:2]
        convolution.weight[:out] = 0
        convolution.weight[:out, :taken] = known.weight
        convolution.bias[:out] = known.bias
    return large.eval()


def _convolutions(network: Fast) -> list[nn.Conv2d]:
    return [layer for layer in network.body if isinstance(layer, nn.Conv2d)]


def _identity(features: int) -> nn.Conv2d:
    convolution = nn.Conv2d(features, features, 3, padding=1)
    nn.init.dirac_(convolution.weight)
    nn.init.zeros_(convolution.bias)
    return convolution


def small_network(path: Path, scale: int) -> Fast:
    """The ``fast`` of a checkpoint, or of a model's folder at ``scale``. Raises CheckpointError."""
    if path.is_dir():
        try:
            architecture = json.loads((path / "manifest.json").read_text("utf-8"))["architecture"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{path} is no model's folder: {error}") from error
        name = architecture.get("network")
        if name == Fast.name:
            network = Fast(scale, architecture["layers"], architecture["filters"])
            take_matching(network, initial_weights(path, scale))
            return network.eval()
    else:
        loaded = network_of(load_checkpoint(path))
        if type(loaded) is Fast:
            return loaded
        name = type(loaded).__name__.lower()
    raise CheckpointError(f"{path} is a network of the kind {name}; only {Fast.name} can grow")


def _state(network: Fast) -> dict[str, Any]:
    """A checkpoint that can be measured, exported and started from (``--init``), not resumed."""
    weights = network.state_dict()
    kept = {"network": Fast.name, "network_options": network.options, "ema": weights, "weights": weights}
    return kept | {"recipe": {}, "step": 0, "seconds": 0.0}


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit code."""
    top = argparse.ArgumentParser(prog="python -m training.grow", description=__doc__.splitlines()[0])
    top.add_argument("network", type=Path, metavar="FROM", help="a checkpoint of `fast`, or a model's folder")
    top.add_argument("--scale", type=int, default=4, choices=(2, 4), help="of a model's folder (%(default)s)")
    top.add_argument("--layers", type=int, metavar="N", help="all convolutions (as many as it has)")
    top.add_argument("--filters", type=int, metavar="N", help="features of each (as many as it has)")
    top.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the checkpoint to write")
    options = top.parse_args(argv)
    try:
        small = small_network(options.network, options.scale)
        layers, filters = options.layers or small.options["layers"], options.filters or small.options["filters"]
        save_checkpoint(options.output, _state(grown(small, layers=layers, filters=filters)))
    except (CheckpointError, OSError, ValueError) as error:
        print(f"training.grow: {error}", file=sys.stderr)
        return 1
    print(
        f"{options.output}: go on with chetko-train --network fast --scale {small.scale} --gen-res-blocks {layers - 2} "
        f"--gen-filters {filters} --init {options.output}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
