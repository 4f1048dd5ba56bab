"""The comparison as one HTML page that needs nothing else: figures, and what they are figures of."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from training.evaluation.datasets import Example, Image8
from training.evaluation.measure import Row, means
from training.evaluation.report import PROTOCOL
from training.evaluation.restore import cut_to
from training.resize import matlab_resize

EDGE = 160
"""Pixels of the square that the page shows of each picture, at 1:1."""

STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }
body { margin: 2rem auto; max-width: 80rem; padding: 0 1rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; display: block; overflow-x: auto }
th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #8884 }
th:first-child, td:first-child { text-align: left }
tr.published { font-style: italic }
.strip { display: flex; gap: .5rem; overflow-x: auto; padding: .5rem 0 }
figure { margin: 0; flex: none; text-align: center; font-size: .8rem }
img { display: block; image-rendering: pixelated }
figcaption b { display: block }
"""


class Page:
    """Collects squares of restored pictures while they are measured, then writes the page."""

    def __init__(self, pictures: int) -> None:
        """``pictures``: of how many of each data set squares are shown; the figures are those of all."""
        self._limit = pictures
        self._places: dict[tuple[str, int, str], tuple[int, int]] = {}
        self._squares: dict[tuple[str, int, str], list[tuple[str, str, Image8]]] = {}

    def expect(self, dataset: str, scale: int, examples: Sequence[Example]) -> None:
        """Chooses the square of each picture: where the bicubic enlargement is furthest from it, so most to see."""
        for example in examples[: self._limit]:
            key = (dataset, scale, example.name)
            sharp, rough = cut_to(example.large, scale), matlab_resize(example.small, scale)
            self._places[key] = top, left = _most_detail(sharp, rough)
            square = (slice(top, top + EDGE), slice(left, left + EDGE))
            small = example.small.repeat(scale, axis=0).repeat(scale, axis=1)
            self._squares[key] = [("LR", "", small[square]), ("original", "", sharp[square])]

    def seen(self, row: Row, restored: Image8) -> None:
        """Keeps the square of one restored picture (``measure.Seen``)."""
        key = (row.dataset, row.scale, row.picture or "")
        if key in self._places:
            top, left = self._places[key]
            caption = f"{row.psnr:.2f} dB" + ("" if row.lpips is None else f", LPIPS {row.lpips:.3f}")
            square = restored[top : top + EDGE, left : left + EDGE]
            self._squares[key].insert(-1, (row.title, caption, square))

    def html(self, rows: Sequence[Row], doubts: Sequence[str]) -> str:
        """The whole page; no script, nothing loaded from elsewhere."""
        parts = [
            '<!doctype html><html lang="en"><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width"><title>Chetko: methods side by side</title>',
            f"<style>{STYLE}</style><h1>Methods side by side</h1><p>{html.escape(PROTOCOL)}</p>",
            *(f"<p><strong>{html.escape(doubt)}</strong></p>" for doubt in doubts),
        ]
        for mean in dict.fromkeys((row.dataset, row.scale) for row in rows):
            dataset, scale = mean
            here = [row for row in rows if (row.dataset, row.scale) == mean]
            parts.append(f"<h2>{html.escape(dataset)} x{scale}</h2>")
            parts.append(_table(means(here)))
            for picture in dict.fromkeys(row.picture or "" for row in here):
                parts.append(f"<details open><summary>{html.escape(picture)}</summary>")
                parts.append(self._strip((dataset, scale, picture)))
                parts.append(_table([row for row in here if row.picture == picture]))
                parts.append("</details>")
        return "\n".join(parts) + "\n"

    def _strip(self, key: tuple[str, int, str]) -> str:
        figures = [
            f'<figure><img alt="" width="{square.shape[1]}" height="{square.shape[0]}" src="{_data(square)}">'
            f"<figcaption><b>{html.escape(label)}</b>{html.escape(caption)}</figcaption></figure>"
            for label, caption, square in self._squares.get(key, [])
        ]
        return f'<div class="strip">{"".join(figures)}</div>' if figures else ""


def _table(rows: Sequence[Row]) -> str:
    head = "<tr><th>method<th>PSNR, dB<th>SSIM<th>LPIPS<th>chroma, dB<th>s per MP</tr>"
    lines = [
        f'<tr class="{row.kind}"><td>{html.escape(row.title)}<td>{row.psnr:.2f}<td>{_or_dash(row.ssim, 4)}'
        f"<td>{_or_dash(row.lpips, 3)}<td>{_or_dash(row.chroma_psnr, 2)}"
        f"<td>{_or_dash(row.seconds_per_megapixel, 2)}</tr>"
        for row in rows
    ]
    return f"<table>{head}{''.join(lines)}</table>"


def _or_dash(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _most_detail(sharp: Image8, rough: Image8) -> tuple[int, int]:
    """Top and left of the square (on a grid of 16 px) in which the two pictures differ most; (0, 0) in small ones."""
    off = (sharp.astype(np.float32) - rough.astype(np.float32)) ** 2
    total = np.zeros((off.shape[0] + 1, off.shape[1] + 1), np.float64)
    total[1:, 1:] = (off if off.ndim == 2 else off.sum(axis=2)).cumsum(axis=0).cumsum(axis=1)
    height, width = (min(EDGE, side) for side in off.shape[:2])
    places = [
        (top, left)
        for top in range(0, off.shape[0] - height + 1, 16)
        for left in range(0, off.shape[1] - width + 1, 16)
    ]
    return max(
        places,
        key=lambda place: (
            total[place[0] + height, place[1] + width] - total[place[0], place[1] + width]
            - total[place[0] + height, place[1]] + total[place[0], place[1]]
        ),
    )  # fmt: skip


def _data(pixels: Image8) -> str:
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(out, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode("ascii")
