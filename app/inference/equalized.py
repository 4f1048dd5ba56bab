"""Gives the output the colour histogram of its source; the rows wait in a temporary file meanwhile."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from app.imaging.equalize import ChannelHistogram, apply_table, matching_table
from app.imaging.picture import Pixels

# Rows are read back in pieces of about this size.
_PIECE_BYTES = 8 * 2**20


def equalized(bands: Iterable[Pixels], colours: Pixels, scratch: Path | None) -> Iterator[Pixels]:
    """The rows of ``bands`` with the histogram of ``colours``, the source's pixels, in every channel; alpha
    stays as it is.

    The mapping needs the histogram of the whole output, so all rows go through an unnamed temporary file in
    the folder ``scratch`` (None: the system's), of the output's size in bytes, before the first is handed
    out.
    """
    channels = colours.shape[2]
    histogram: ChannelHistogram | None = None
    with tempfile.TemporaryFile(dir=scratch) as spool:
        row_shape: tuple[int, ...] = ()
        for band in bands:
            row_shape = band.shape[1:]
            if histogram is None:
                histogram = ChannelHistogram.of(band[:, :, :channels])
            else:
                histogram.add(band[:, :, :channels])
            spool.write(np.ascontiguousarray(band).data)
        if histogram is None:
            return
        table = matching_table(histogram, ChannelHistogram.of(colours))
        spool.seek(0)
        row_bytes = int(np.prod(row_shape)) * colours.itemsize
        while piece := spool.read(max(1, _PIECE_BYTES // row_bytes) * row_bytes):
            rows = np.frombuffer(piece, colours.dtype).reshape(-1, *row_shape).copy()
            rows[:, :, :channels] = apply_table(rows[:, :, :channels], table)
            yield rows
