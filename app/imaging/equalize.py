"""Gives an enlarged picture the colour distribution of its source, channel by channel."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from app.imaging.picture import Pixels

# Rows counted at a time, so that the copies that counting makes stay small.
_BAND_ROWS = 64


class ChannelHistogram:
    """How often each level occurs in each colour channel; memory does not grow with the picture."""

    def __init__(self, channels: int, bits: int) -> None:
        """``channels`` is 1 or 3 (alpha is never counted), ``bits`` 8 or 16: 256 or 65,536 bins."""
        self.counts: npt.NDArray[np.int64] = np.zeros((channels, 1 << bits), np.int64)

    @classmethod
    def of(cls, pixels: Pixels) -> ChannelHistogram:
        """Of a whole picture (height, width, 1|3), uint8 or uint16."""
        histogram = cls(pixels.shape[2], pixels.dtype.itemsize * 8)
        histogram.add(pixels)
        return histogram

    def add(self, rows: Pixels) -> None:
        """Counts rows (n, width, channels); channels beyond the histogram's own, such as alpha, are passed over."""
        channels, bins = self.counts.shape
        for top in range(0, rows.shape[0], _BAND_ROWS):
            for channel in range(channels):
                levels = rows[top : top + _BAND_ROWS, :, channel].ravel()
                self.counts[channel] += np.bincount(levels, minlength=bins)


def matching_table(output: ChannelHistogram, source: ChannelHistogram) -> Pixels:
    """The table (channels, levels) that gives ``output`` the distribution of ``source``.

    Each level goes to the source level of equal rank, ranks taken in the middle of a level's pixels and source
    levels interpolated between those that occur; the table never falls. Equal histograms give the identity on the
    levels that occur. Both histograms need the same channels and bits, and at least one pixel.
    """
    if output.counts.shape != source.counts.shape:
        raise ValueError(f"histograms differ: {output.counts.shape} and {source.counts.shape}")
    channels, bins = output.counts.shape
    table = np.empty((channels, bins), np.uint8 if bins == 256 else np.uint16)
    for channel in range(channels):
        present = np.flatnonzero(source.counts[channel])
        matched = np.interp(_ranks(output.counts[channel]), _ranks(source.counts[channel])[present], present)
        table[channel] = np.rint(matched)
    return table


def apply_table(rows: Pixels, table: Pixels) -> Pixels:
    """New rows (n, width, channels) with each channel looked up; one more channel (alpha) is passed on as it is."""
    out = rows.copy()
    for channel in range(table.shape[0]):
        out[:, :, channel] = table[channel][rows[:, :, channel]]
    return out


def _ranks(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """For each level the share of pixels below it plus half of its own."""
    total = counts.sum()
    if total == 0:
        raise ValueError("the histogram is empty")
    ranks: npt.NDArray[np.float64] = (np.cumsum(counts) - counts / 2) / total
    return ranks
