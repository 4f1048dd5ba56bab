"""The networks, one file each. A new one is a file here, a line in ``NETWORKS`` and a line in their common test.

What each class owes the rest of the project:

- keyword options with defaults in the constructor, and ``options``, all of them as JSON can hold them, ``scale``
  included: ``build(name, **options)`` makes the same network again;
- ``forward``: (N, 3, H, W) RGB in [0, 1], any H, W >= 1 -> (N, 3, scale*H, scale*W), not clamped;
- ``receptive_field_radius``, in input pixels: guaranteed, when rounded up, that the output pixels made of one input
  pixel depend on no input pixel further away, so a tile cut with that border equals the whole picture;
- ``for_serving()``: an independent copy in eval mode and in the cheapest plain form, computing the same to rounding;
- ``from_command(scale, filters=, blocks=)``: the constructor's options for ``--gen-filters`` and ``--gen-res-blocks``
  (None: not given, the network's own default holds), or ``ValueError`` with a sentence where it cannot follow;
- ``subpixel_layer``, where one convolution makes the sub-pixels of every scale: its name, so that a network begins
  from the weights of another scale with a picture;
- ``summary`` (one sentence) and ``paper``, for ``chetko-train --list-networks``.

No global pooling, no attention over the whole picture, no strided path: tiles must equal the whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from training.networks.bicubic import Bicubic
from training.networks.dilated import Dilated
from training.networks.drcn import DRCN
from training.networks.espcn import ESPCN
from training.networks.fast import Fast
from training.networks.span import SPAN
from training.networks.srcnn import SRCNN
from training.networks.srresnet import SRResNet
from training.networks.vdsr import VDSR
from training.networks.work import multiply_adds

NETWORKS: dict[str, type] = {
    "bicubic": Bicubic,
    "dilated": Dilated,
    "drcn": DRCN,
    "espcn": ESPCN,
    "fast": Fast,
    "span": SPAN,
    "srcnn": SRCNN,
    "srresnet": SRResNet,
    "vdsr": VDSR,
}


@dataclass(frozen=True, slots=True)
class NetworkDescription:
    """A line of ``chetko-train --list-networks``, at the network's default options.

    ``parameters`` and ``multiply_adds`` (of all convolutions, per input pixel) are those of the served form.
    """

    name: str
    summary: str
    paper: str
    parameters: int
    multiply_adds: int


def build(name: str, **options: Any) -> nn.Module:
    """The network ``name`` with random weights.

    Raises ``KeyError`` with a sentence that lists the known names.
    """
    if name not in NETWORKS:
        raise KeyError(f"there is no network {name!r}; choose one of: {', '.join(sorted(NETWORKS))}")
    return NETWORKS[name](**options)


def describe_networks(scale: int) -> list[NetworkDescription]:
    """What there is to choose from, in the order of multiply-adds. Computes shapes only: it takes a moment."""
    lines = []
    for name, kind in NETWORKS.items():
        with torch.device("meta"):
            served = build(name, scale=scale).for_serving()
            work = multiply_adds(served)
        parameters = sum(parameter.numel() for parameter in served.parameters())
        lines.append(NetworkDescription(name, kind.summary, kind.paper, parameters, work))
    return sorted(lines, key=lambda line: line.multiply_adds)
