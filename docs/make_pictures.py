"""Makes the pictures of README and docs: ``.venv/bin/python -m docs.make_pictures`` (needs ``make install``).

``--runs DIR`` also makes the one of the losses, from the runs ``mine``, ``features`` and ``game`` that docs/training.md
names.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from training.checkpoint import load_checkpoint, network_of
from training.degradation import Degradation
from training.degraded_pictures import degraded
from training.evaluation.lpips import Lpips, find_lpips_weights
from training.evaluation.restore import onnx_restorer, scores, torch_restorer
from training.pictures import labelled_strip
from training.resize import shrink

ROOT = Path(__file__).resolve().parents[1]
LEFT, TOP, WIDTH, HEIGHT = 128, 108, 120, 80  # the kitten's face
GAP = 8
FUR = (120, 140)  # top and left of a square of the example of a dog
DOG_FACE = (72, 64, 110, 110)  # of the example at half its size: top, left, height, width


def damage() -> None:
    """Writes docs/images/damage.png: what each of chetko-train's --apply options does to a small picture."""
    photo = np.asarray(Image.open(ROOT / "app/web/examples/dog.jpg").convert("RGB"))
    ways = [
        ("clean", "no option", Degradation()),
        ("blur", "--apply-blur 2", Degradation(blur=2.0)),
        ("noise", "--apply-noise 10", Degradation(noise=10.0)),
        ("JPEG", "--apply-jpeg 20", Degradation(jpeg=(20,))),
        ("all three", "in this order", Degradation(blur=2.0, noise=10.0, jpeg=(20,))),
    ]
    top, left, height, width = DOG_FACE
    panels = []
    for label, caption, degradation in ways:
        small = degraded(photo, 2, degradation)[top : top + height, left : left + width]
        panels.append((label, caption, small.repeat(2, axis=0).repeat(2, axis=1)))
    labelled_strip(panels).save(ROOT / "docs/images/damage.png", optimize=True)


def kitten() -> None:
    """Writes docs/images/kitten-x4.png: a region of the example enlarged by bicubic and by ``fast``, side by side.

    The whole photo is enlarged, then cut, so that the region has its real neighbourhood.
    """
    photo = Image.open(ROOT / "app/web/examples/kitten.jpg").convert("RGB")
    bicubic = photo.resize((photo.width * 4, photo.height * 4), Image.Resampling.BICUBIC)
    ours = Image.fromarray(onnx_restorer(ROOT / "app/models/fast/x4.onnx")(np.asarray(photo)))
    region = (LEFT * 4, TOP * 4, (LEFT + WIDTH) * 4, (TOP + HEIGHT) * 4)
    strip = Image.new("RGB", (2 * WIDTH * 4 + GAP, HEIGHT * 4), "white")
    strip.paste(bicubic.crop(region), (0, 0))
    strip.paste(ours.crop(region), (WIDTH * 4 + GAP, 0))
    strip.save(ROOT / "docs/images/kitten-x4.png", optimize=True)


def losses(runs: Path) -> None:
    """Writes docs/images/losses.png: one network after training with three losses, on the example of a dog."""
    photo = np.asarray(Image.open(ROOT / "app/web/examples/dog.jpg").convert("RGB"))
    small, edge, (top, left) = shrink(photo, 4), 208, FUR
    weights = find_lpips_weights()
    lpips = Lpips(weights) if weights else None
    region = (slice(top, top + edge), slice(left, left + edge))
    panels = []
    for label, run in (("--content l1", "mine"), ("--content vgg", "features"), ("vgg and adversarial", "game")):
        restore = torch_restorer(network_of(load_checkpoint(runs / run / "last.pt")))
        row = scores(restore, small, photo, 4, lpips=lpips)
        caption = f"{row['psnr']:.2f} dB" + (f", LPIPS {row['lpips']:.3f}" if lpips else "")
        panels.append((label, caption, restore(small)[region]))
    labelled_strip([*panels, ("original", "", photo[region])]).save(ROOT / "docs/images/losses.png", optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, metavar="DIR", help="where the runs mine, features and game are")
    options = parser.parse_args()
    kitten()
    damage()
    if options.runs:
        losses(options.runs)


if __name__ == "__main__":
    main()
