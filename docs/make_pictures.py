"""Makes the pictures of the README: ``.venv/bin/python -m docs.make_pictures`` (needs ``make install``)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from training.evaluation.restore import onnx_restorer

ROOT = Path(__file__).resolve().parents[1]
LEFT, TOP, WIDTH, HEIGHT = 128, 108, 120, 80  # the kitten's face
GAP = 8


def main() -> None:
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


if __name__ == "__main__":
    main()
