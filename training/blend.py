"""``python -m training.blend``: weights between those of two networks, such as a sharp and a faithful one.

X. Wang et al., "ESRGAN", ECCV workshops 2018, section 3.4 (network interpolation, eq. 4): networks of which one was
trained on from the other lie so near to each other that (1 - share) x theta_1 + share x theta_2 is a network as well,
and its pictures lie between theirs: less noise and higher PSNR than an adversarial network's, more texture than a
faithful one's. Chosen after training, and costs nothing at serving time.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from torch import Tensor

from training.checkpoint import CheckpointError, initial_weights, load_checkpoint, save_checkpoint


def blend(state: dict[str, Any], other: dict[str, Tensor], share: float, name: str) -> dict[str, Any]:
    """The checkpoint ``state`` with ``share`` (0..1) of its averaged weights taken from ``other``, an equal network's.

    The result can be measured, exported, blended again and started from (``--init``), not resumed. It says what it was
    made of in ``blends``: ``name`` and the share. Raises ``ValueError`` for a share outside 0..1, and
    ``CheckpointError`` where the networks differ.
    """
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"the share of the second network is {share:g}; it must lie between 0 and 1")
    own: dict[str, Tensor] = state["ema"]
    differing = sorted(own.keys() ^ other.keys()) or [key for key in own if own[key].shape != other[key].shape]
    if differing:
        raise CheckpointError(f"{name} is of another network: {', '.join(differing[:5])} do not fit")
    mixed = {
        key: tensor.lerp(other[key].to(tensor.dtype), share) if tensor.is_floating_point() else tensor
        for key, tensor in own.items()
    }
    kept = ("network", "network_options", "recipe", "step", "seconds")
    made_of = [*state.get("blends", []), {"with": name, "share": share}]
    return {key: state[key] for key in kept} | {"ema": mixed, "weights": mixed, "blends": made_of}


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit code."""
    top = argparse.ArgumentParser(prog="python -m training.blend", description=__doc__.splitlines()[0])
    top.add_argument("first", type=Path, metavar="CHECKPOINT", help="a .pt file of chetko-train")
    top.add_argument(
        "second",
        type=Path,
        metavar="FILE",
        help="another checkpoint, .safetensors file or model's folder of that network",
    )
    top.add_argument("share", type=float, metavar="SHARE", help="of the second one, from 0 to 1")
    top.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the checkpoint to write")
    options = top.parse_args(argv)
    try:
        state = load_checkpoint(options.first)
        other = initial_weights(options.second, int(state["network_options"]["scale"]))
        name = "/".join(options.second.parts[-2:])
        save_checkpoint(options.output, blend(state, other, options.share, name))
    except (CheckpointError, OSError, ValueError) as error:
        print(f"training.blend: {error}", file=sys.stderr)
        return 1
    print(f"{options.output}: {1 - options.share:g} x {options.first} + {options.share:g} x {options.second}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
