"""Histogram matching: gives a result the colour distribution of its LR source, channel by channel.

The same mapping as the service's ``--equalize-colors`` for 8-bit pictures, so that what validation measures is what
is served (the tests compare the two).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Image8 = npt.NDArray[np.uint8]

LEVELS = 256


def match_colours(image: Image8, source: Image8) -> Image8:
    """``image`` with the histograms of ``source``: both (h, w) or both (h, w, C), uint8, of any two sizes.

    Each level goes to the source level of equal rank, ranks taken in the middle of a level's pixels and source levels
    interpolated between those that occur. Order is kept (levels may become equal, never swap), no level beyond the
    source's darkest and brightest comes out, and an image with the source's own histogram is returned unchanged.
    Raises ``ValueError`` when the channels differ or there is no pixel.
    """
    if image.shape[2:] != source.shape[2:]:
        raise ValueError(f"cannot match {image.shape} to {source.shape}: the channels differ")
    matched = np.empty_like(image)
    for channel in np.ndindex(image.shape[2:]):
        plane = (..., *channel)
        counts = np.bincount(source[plane].ravel(), minlength=LEVELS)
        present = np.flatnonzero(counts)
        ranks = _ranks(np.bincount(image[plane].ravel(), minlength=LEVELS))
        table = np.rint(np.interp(ranks, _ranks(counts)[present], present)).astype(np.uint8)
        matched[plane] = table[image[plane]]
    return matched


def _ranks(counts: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
    """For each level the share of pixels below it plus half of its own."""
    total = counts.sum()
    if total == 0:
        raise ValueError("there is no pixel to match")
    ranks: npt.NDArray[np.float64] = (np.cumsum(counts) - counts / 2) / total
    return ranks
