"""Plots as SVG, written by hand: two kinds are needed, and a plotting library weighs more than all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_FONT = "font-family='Inter, sans-serif' font-size='13' fill='#333'"
_OURS, _OTHERS, _MISSED = "#0a7d72", "#8a8f98", "#c2571a"


@dataclass(frozen=True)
class Bar:
    """A length from 0 on, and where it should reach."""

    name: str
    value: float
    target: float | None = None


@dataclass(frozen=True)
class Point:
    """A place in a plot of two values."""

    name: str
    x: float
    y: float
    ours: bool


def bars(title: str, rows: Sequence[Bar]) -> str:
    """Bars from top to bottom with their values; a line where one should reach, and another colour where it does not.
    Values are shares, 1 is marked."""
    left, width, step, top = 300, 420, 24, 48
    most = max(1.05, *(row.value for row in rows)) if rows else 1.05
    height = top + step * len(rows) + 16
    one = left + width / most
    drawn = [
        f"<line x1='{one:.1f}' y1='{top - 12}' x2='{one:.1f}' y2='{height - 12}' stroke='#bbb' stroke-dasharray='3 3'/>"
    ]
    for number, row in enumerate(rows):
        y = top + step * number
        missed = row.target is not None and row.value < row.target
        length = width * row.value / most
        drawn.append(f"<text x='{left - 8}' y='{y + 12}' text-anchor='end' {_FONT}>{escape(row.name)}</text>")
        drawn.append(
            f"<rect x='{left}' y='{y}' width='{length:.1f}' height='16' rx='2' fill='{_MISSED if missed else _OURS}'/>"
        )
        if row.target is not None:
            x = left + width * row.target / most
            drawn.append(f"<line x1='{x:.1f}' y1='{y - 3}' x2='{x:.1f}' y2='{y + 19}' stroke='#222' stroke-width='2'/>")
        drawn.append(f"<text x='{left + length + 8:.1f}' y='{y + 12}' {_FONT}>{row.value:.2f}</text>")
    return _svg(title, left + width + 60, height, drawn)


def scatter(title: str, x_name: str, y_name: str, points: Sequence[Point]) -> str:
    """Points with their names; ``x`` is drawn by its logarithm in steps of two."""
    width, height, left, bottom = 720, 420, 64, 52
    first = min(point.x for point in points) / 1.3
    last = max(point.x for point in points) * 1.9  # room for names
    low = min(point.y for point in points) - 0.15
    high = max(point.y for point in points) + 0.15

    def across(x: float) -> float:
        return left + (width - left - 16) * (math.log2(x / first) / math.log2(last / first))

    def up(y: float) -> float:
        return height - bottom - (height - bottom - 48) * (y - low) / (high - low)

    drawn = []
    mark = 2.0 ** -(-math.log2(first) // 1)
    while mark <= last:
        if mark >= first:
            x = across(mark)
            drawn.append(f"<line x1='{x:.1f}' y1='40' x2='{x:.1f}' y2='{height - bottom}' stroke='#eee'/>")
            drawn.append(f"<text x='{x:.1f}' y='{height - 34}' text-anchor='middle' {_FONT}>{mark:g}</text>")
        mark *= 2
    level = round(low * 5) / 5
    while level <= high:
        if level >= low:
            y = up(level)
            drawn.append(f"<line x1='{left}' y1='{y:.1f}' x2='{width - 16}' y2='{y:.1f}' stroke='#eee'/>")
            drawn.append(f"<text x='{left - 8}' y='{y + 4:.1f}' text-anchor='end' {_FONT}>{level:.1f}</text>")
        level = round(level + 0.2, 1)
    for point in points:
        x, y = across(point.x), up(point.y)
        colour = _OURS if point.ours else _OTHERS
        drawn.append(f"<circle cx='{x:.1f}' cy='{y:.1f}' r='{6 if point.ours else 4}' fill='{colour}'/>")
        drawn.append(f"<text x='{x + 10:.1f}' y='{y + 4:.1f}' {_FONT}>{escape(point.name)}</text>")
    drawn.append(
        f"<text x='{(left + width) / 2}' y='{height - 10}' text-anchor='middle' {_FONT}>{escape(x_name)}</text>"
    )
    drawn.append(
        f"<text transform='translate(16 {height / 2}) rotate(-90)' text-anchor='middle' {_FONT}>{escape(y_name)}</text>"
    )
    return _svg(title, width, height, drawn)


def _svg(title: str, width: float, height: float, drawn: Sequence[str]) -> str:
    name = escape(title)
    head = (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width:g} {height:g}' role='img'>"
        f"<title>{name}</title><rect width='100%' height='100%' fill='#fff'/>"
        f"<text x='12' y='24' {_FONT} font-weight='600'>{name}</text>"
    )
    return "\n".join([head, *drawn, "</svg>"]) + "\n"
