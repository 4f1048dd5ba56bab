"""Checks the rows that an encoder is given against the layout it was promised."""

from __future__ import annotations

import numpy as np

from app.imaging.picture import Layout, Pixels


class RowCounter:
    """Counts rows; every encoder has one."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.dtype = np.dtype(np.uint16 if layout.bits == 16 else np.uint8)
        self.done = 0

    def take(self, rows: Pixels) -> None:
        """Raises ValueError unless ``rows`` may come next."""
        expected = (self.layout.width, self.layout.channels)
        if rows.ndim != 3 or rows.shape[1:] != expected or rows.dtype != self.dtype:
            raise ValueError(f"expected rows of (n, {expected}) {self.dtype}, got {rows.shape} {rows.dtype}")
        if self.done + rows.shape[0] > self.layout.height:
            raise ValueError(f"more rows than the {self.layout.height} of the picture")
        self.done += rows.shape[0]

    def check_complete(self) -> None:
        """Raises ValueError if rows are missing."""
        if self.done != self.layout.height:
            raise ValueError(f"{self.done} rows of {self.layout.height} were written")


def to_8_bit(rows: Pixels) -> Pixels:
    """uint16 to uint8 with rounding, round(x / 257); uint8 comes back as it is."""
    if rows.dtype == np.uint8:
        return rows
    # 257 is odd, so no value lies halfway; 32-bit sums cannot overflow.
    return ((rows.astype(np.uint32) + 128) // 257).astype(np.uint8)
