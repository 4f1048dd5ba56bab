"""What the network sees, as a picture: each row of a batch, LR beside HR."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont

from training.data import Batch

GAP = 8
TEXT = 14  # height of a label, pixels
AT_LEAST = 192  # edge to which small patches are repeated, so that their pixels and labels can be seen


def write_batch_sheet(batch: Batch, path: Path) -> None:
    """Writes ``batch`` as a PNG: per row LR (each pixel repeated to HR's size) beside HR, under them the file's name.

    Patches under ``AT_LEAST`` pixels are shown at a whole multiple of their size. The file appears complete or not at
    all. Raises ``OSError`` where it cannot be written.
    """
    edge = batch.large.shape[2]
    shown = edge * math.ceil(AT_LEAST / edge)
    pairs = []
    for patches in (batch.small, batch.large):
        repeated = F.interpolate(patches.float(), size=(shown, shown), mode="nearest")
        pairs.append(repeated.mul(255.0).round().byte().permute(0, 2, 3, 1).cpu().numpy())
    width, height = 2 * shown + 2 * GAP, shown + TEXT + 2 * GAP
    columns = max(1, round(math.sqrt(len(batch.pictures) * height / width)))
    lines = math.ceil(len(batch.pictures) / columns)
    sheet = Image.new("RGB", (columns * width + GAP, lines * height + GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(TEXT - 2)
    for index, (small, large, name) in enumerate(zip(*pairs, batch.pictures, strict=True)):
        line, column = divmod(index, columns)
        left, top = GAP + column * width, GAP + line * height
        sheet.paste(Image.fromarray(np.concatenate((small, large), axis=1)), (left, top))
        while draw.textlength(name, font) > 2 * shown and len(name) > 2:
            name = "…" + name[2:]  # the end of a path tells more than its beginning  # noqa: PLW2901
        draw.text((left, top + shown + 2), name, "black", font)
    partial = path.with_name(path.name + ".part")
    sheet.save(partial, "PNG")
    partial.replace(path)
