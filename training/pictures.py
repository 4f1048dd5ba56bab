"""Pictures side by side for people to judge: a strip at 1:1 pixels, each with its name and figures under it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Image8 = npt.NDArray[np.uint8]

PAPER = "#ffffff"
INK = "#16181d"
SOFT_INK = "#5c6370"
READ_AT = 830
"""Width in px of the column in which a README is shown: wider strips are shrunk to it, their text too."""


def labelled_strip(panels: Sequence[tuple[str, str, Image8]]) -> Image.Image:
    """(label, caption, pixels) from left to right -> an RGB picture on white.

    ``pixels`` are (H, W, 3) or (H, W) uint8 of one height; they are copied as they are, never resampled. Labels and
    captions are English (the font that ships with Pillow draws no Cyrillic), of one line each, in a size that stays
    readable when a README shrinks the strip to its column; a column gets wider than its picture where the text is.
    Raises ``ValueError`` without panels or when the heights differ.
    """
    heights = {pixels.shape[0] for _, _, pixels in panels}
    if len(heights) != 1:
        raise ValueError(f"a strip is made of pictures of one height, not of {sorted(heights) or 'none'}")
    images = [Image.fromarray(pixels).convert("RGB") for _, _, pixels in panels]
    size = max(13, round(sum(image.width for image in images) / READ_AT * 13))
    gap = size // 2
    label_font, caption_font = ImageFont.load_default(size * 1.15), ImageFont.load_default(size)
    columns = [
        max(image.width, _width(label, label_font), _width(caption, caption_font))
        for image, (label, caption, _) in zip(images, panels, strict=True)
    ]
    height = images[0].height
    text_height = round(size * (3.4 if any(caption for _, caption, _ in panels) else 2.0))
    strip = Image.new("RGB", (sum(columns) + gap * (len(columns) + 1), gap + height + text_height), PAPER)
    draw = ImageDraw.Draw(strip)
    left = gap
    for image, column, (label, caption, _) in zip(images, columns, panels, strict=True):
        strip.paste(image, (left + (column - image.width) // 2, gap))
        middle = left + column / 2
        # Baselines ("ms"), so that labels with and without descenders stand on one line.
        draw.text((middle, gap + height + size * 1.5), label, INK, label_font, "ms")
        draw.text((middle, gap + height + size * 2.85), caption, SOFT_INK, caption_font, "ms")
        left += column + gap
    return strip


def _width(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> int:
    return int(font.getlength(text)) + 1
