"""Makes the pictures of docs/criteria.md, where each measure is wrong: ``.venv/bin/python -m docs.make_criteria``.

Needs ``make install`` only: it takes the example pictures and the held-out text.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from training.evaluation.cli import TEXT
from training.evaluation.datasets import Image8, read_picture
from training.evaluation.lpips import Distance, distance
from training.evaluation.restore import compare
from training.pictures import labelled_strip
from training.resize import matlab_resize, shrink

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "app" / "web" / "examples"
EDGE = 160


def row(name: str, original: Image8, wrong: Sequence[tuple[str, Image8]], lpips: Distance) -> None:
    """Writes docs/images/criteria-NAME.png: the original and what the measures say of others."""
    panels = [("original", "PSNR / SSIM / LPIPS", original)]
    for label, picture in wrong:
        told = compare(picture, original, 0, lpips=lpips)
        panels.append((label, f"{told['psnr']:.1f} dB / {told['ssim']:.3f} / {told['lpips']:.3f}", picture))
    labelled_strip(panels).save(ROOT / "docs" / "images" / f"criteria-{name}.png", optimize=True)


def psnr(lpips: Distance) -> None:
    """Fur moved by a pixel looks the same; blurred fur does not, and has the higher PSNR."""
    dog = read_picture(EXAMPLES / "dog.jpg")
    here = (slice(120, 120 + EDGE), slice(140, 140 + EDGE))
    moved = np.roll(dog, (1, 1), axis=(0, 1))
    row(
        "psnr",
        dog[here],
        [("moved by 1 px", moved[here]), ("bicubic x4", matlab_resize(shrink(dog, 4), 4)[here])],
        lpips,
    )


def ssim(lpips: Distance) -> None:
    """Noise of three levels in a black sky is not seen, and costs more SSIM than a blur of what is seen."""
    city = read_picture(EXAMPLES / "city.jpg")
    here = (slice(0, EDGE), slice(380, 380 + EDGE))
    noise = np.random.default_rng(0).normal(0, 3, city.shape)
    noisy = np.clip(np.rint(city + noise), 0, 255).astype(np.uint8)
    blurred = np.clip(np.rint(ndimage.gaussian_filter(city.astype(float), (1.2, 1.2, 0))), 0, 255).astype(np.uint8)
    row("ssim", city[here], [("noise of 3 levels", noisy[here]), ("blurred", blurred[here])], lpips)


def colour(lpips: Distance) -> None:
    """Luma alone is compared by PSNR and SSIM: they do not see colours that are wrong."""
    dog = read_picture(EXAMPLES / "dog.jpg").astype(np.float64)
    here = (slice(60, 60 + EDGE), slice(150, 150 + EDGE))
    grey = (dog @ np.array([65.481, 128.553, 24.966]) / 219)[..., None]
    tinted = np.clip(np.rint(grey + (dog - grey)[:, :, [2, 0, 1]] * 0.5), 0, 255)
    tinted += np.rint(grey - (tinted @ np.array([65.481, 128.553, 24.966]) / 219)[..., None])
    wrong = np.clip(tinted, 0, 255).astype(np.uint8)
    original = dog.astype(np.uint8)
    row("colour", original[here], [("other colours", wrong[here]),
        ("bicubic x2", matlab_resize(shrink(original, 2), 2)[here])], lpips)  # fmt: skip


def invented(lpips: Distance) -> None:
    """Noise on a blurred page looks like detail to LPIPS; not a letter can be read better."""
    page = read_picture(TEXT / "03.png")
    rough = matlab_resize(shrink(page, 4), 4)
    noise = np.random.default_rng(0).normal(0, 5, page.shape[:2])[:, :, None]
    noisy = np.clip(np.rint(rough + noise), 0, 255).astype(np.uint8)
    here = (slice(40, 40 + EDGE), slice(0, EDGE))
    row("lpips", page[here], [("bicubic x4", rough[here]), ("and noise", noisy[here])], lpips)


def main() -> None:
    measured = distance()
    for make in (psnr, ssim, colour, invented):
        make(measured)


if __name__ == "__main__":
    main()
