"""Rows of figures as a table for the terminal, as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict

from training.evaluation.measure import Row, means

PROTOCOL = (
    "PSNR in dB and SSIM on luma (BT.601, 8 bit), `scale` pixels shaved; LPIPS 0.1 (alex) on whole RGB pictures, lower "
    "is closer; LR files as given, or made by MATLAB's bicubic where there is only the sharp picture; means over a set."
)
Cells = list[str]


def as_table(rows: Sequence[Row]) -> str:
    """The means, aligned for a terminal; one block for each scale."""
    blocks = []
    for scale, head, body in _tables(rows, lambda row: row.title):
        head[0] = f"x{scale}"
        widths = [max(len(line[column]) for line in (head, *body)) for column in range(len(head))]
        lines = [
            "  ".join(cell.ljust(width) if not column else cell.rjust(width)
                      for column, (cell, width) in enumerate(zip(line, widths, strict=True)))
            for line in (head, *body)
        ]  # fmt: skip
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def as_markdown(rows: Sequence[Row], *, speed: bool = True, protocol: bool = True) -> str:
    """The means; published methods are in italics. Without ``speed`` nothing in it depends on the machine's load;
    without ``protocol`` it does not begin with the sentence on how they were measured."""
    blocks = [PROTOCOL] if protocol else []
    for scale, head, body in _tables(rows, _markdown_title, speed=speed):
        head[0] = f"x{scale}"
        lines = [head, ["---"] * len(head), *body]
        blocks.append("\n".join("| " + " | ".join(line) + " |" for line in lines))
    return "\n\n".join(blocks) + "\n"


def _markdown_title(row: Row) -> str:
    return f"*{row.title}*" if row.kind == "published" else row.title


def as_csv(rows: Sequence[Row]) -> str:
    """Every picture's row, then the means, whose ``picture`` is ``mean``."""
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(asdict(rows[0])), lineterminator="\n")
    writer.writeheader()
    writer.writerows(document(row) | ({"picture": "mean"} if row.picture is None else {}) for row in _all(rows))
    return out.getvalue()


def as_json(rows: Sequence[Row], doubts: Sequence[str]) -> str:
    """``{"protocol", "doubts", "pictures": [...], "means": [...]}``, with ``chroma_psnr``, which tables leave out."""
    content = {
        "protocol": PROTOCOL,
        "doubts": list(doubts),
        "pictures": [document(row) for row in rows],
        "means": [document(row) for row in means(rows)],
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def document(row: Row) -> dict[str, object]:
    """``row`` with its figures rounded to what they are worth."""
    return {
        key: round(value, 3 if key == "seconds_per_megapixel" else 4) if isinstance(value, float) else value
        for key, value in asdict(row).items()
    }


def _all(rows: Sequence[Row]) -> list[Row]:
    return [*rows, *means(rows)]


def _tables(
    rows: Iterable[Row], title: Callable[[Row], str], *, speed: bool = True
) -> Iterable[tuple[int, Cells, list[Cells]]]:
    """(scale, head, lines): per method a line; per set PSNR, SSIM and LPIPS; last, if wanted, the mean of the sets'
    seconds per megapixel of output."""
    table: dict[int, dict[str, dict[str, Row]]] = {}
    for row in means(rows):
        table.setdefault(row.scale, {}).setdefault(row.method, {})[row.dataset] = row
    for scale, methods in table.items():
        sets = list(dict.fromkeys(name for line in methods.values() for name in line))
        head = ["", *(cell for name in sets for cell in (f"{name} dB", "SSIM", "LPIPS")), *(["s/MP"] if speed else [])]
        body = []
        for line in methods.values():
            cells = [title(next(iter(line.values())))]
            for name in sets:
                row = line.get(name)
                cells += [
                    _cell(row and row.psnr, 2), _cell(row and row.ssim, 4), _cell(row and row.lpips, 3),
                ]  # fmt: skip
            if speed:
                times = [row.seconds_per_megapixel for row in line.values() if row.seconds_per_megapixel is not None]
                cells.append(_cell(sum(times) / len(times) if times else None, 2))
            body.append(cells)
        yield scale, head, body


def _cell(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
