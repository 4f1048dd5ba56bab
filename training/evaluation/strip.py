"""A region of a picture, restored by several methods, side by side at 1:1 pixels with figures under each.

``python -m training.evaluation.strip PICTURE METHOD ... --region LEFT TOP WIDTH HEIGHT -o strip.png``
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from training.checkpoint import CheckpointError
from training.evaluation.datasets import Image8, read_picture
from training.evaluation.lpips import Distance, distance
from training.evaluation.methods import Method, bicubic, method_named
from training.evaluation.restore import compare, cut_to, restore_any
from training.jpeg import through_pillow
from training.pictures import labelled_strip
from training.resize import shrink
from training.weights import WeightsError

Region = tuple[int, int, int, int]
"""Left, top, width and height in pixels of the sharp picture, each a multiple of the scale."""


def strip(
    sharp: Image8,
    region: Region,
    methods: Iterable[Method],
    scale: int,
    *,
    lpips: Distance,
    damaged: int | None = None,
) -> Image.Image:
    """LR | each method | original of the ``region`` of a sharp picture.

    The whole picture is shrunk by the protocol (and, with ``damaged``, saved as a JPEG of that quality) and restored;
    PSNR and LPIPS are those of the region. Raises ``ValueError`` for a region that does not fit.
    """
    left, top, width, height = region
    sharp = cut_to(sharp, scale)
    if any(side % scale for side in region) or left + width > sharp.shape[1] or top + height > sharp.shape[0]:
        raise ValueError(
            f"the region {region} must lie inside {sharp.shape[1]} x {sharp.shape[0]}, in multiples of {scale}"
        )
    here = (slice(top, top + height), slice(left, left + width))
    small = shrink(sharp, scale)
    if damaged is not None:
        small = through_pillow(np.asarray(Image.fromarray(small).convert("RGB")), damaged)
    small_label = "LR" if damaged is None else f"LR, JPEG {damaged}"
    panels = [(small_label, f"{width // scale} x {height // scale} px",
               small.repeat(scale, axis=0).repeat(scale, axis=1)[here])]  # fmt: skip
    for method in methods:
        restored = restore_any(method.restore, small)[here]
        told = compare(restored, sharp[here], 0, lpips=lpips)
        panels.append((method.title, f"{told['psnr']:.2f} dB / {told['lpips']:.3f}", restored))
    return labelled_strip([*panels, ("original", "PSNR / LPIPS", sharp[here])])


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.evaluation.strip", description=__doc__.splitlines()[0])
    parser.add_argument("picture", type=Path, help="a sharp picture")
    parser.add_argument("methods", nargs="*", help="as for chetko-evaluate; bicubic is always there")
    parser.add_argument("--region", nargs=4, type=int, required=True, metavar=("LEFT", "TOP", "WIDTH", "HEIGHT"))
    parser.add_argument("--scale", type=int, choices=(2, 4), default=4)
    parser.add_argument("--jpeg", type=int, metavar="Q", help="save the small picture as a JPEG of this quality first")
    parser.add_argument("--lpips-weights", type=Path, metavar="FILE")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.png")
    options = parser.parse_args(argv)
    try:
        methods = [bicubic(options.scale), *(method_named(name, options.scale) for name in options.methods)]
        lpips = distance(options.lpips_weights)
        made = strip(
            read_picture(options.picture), tuple(options.region), methods, options.scale, lpips=lpips,
            damaged=options.jpeg,
        )  # fmt: skip
        made.save(options.output, "PNG", optimize=True)
    except (CheckpointError, ImportError, OSError, ValueError, WeightsError) as error:
        print(f"strip: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
