"""EXIF orientation as views, so that turning a picture upright costs no second copy."""

from __future__ import annotations

import numpy as np

from app.imaging.picture import Pixels

# Orientation to (axes swapped, first axis reversed, second axis reversed), in that order, upright to stored.
_TURNS = {
    1: (False, False, False),
    2: (False, False, True),  # the file's first column lies at the right
    3: (False, True, True),
    4: (False, True, False),  # the file's first row lies at the bottom
    5: (True, False, False),  # the file's first row lies at the left, its first column on top
    6: (True, True, False),  # the file's first row lies at the right
    7: (True, True, True),
    8: (True, False, True),  # the file's first row lies at the left, its first column at the bottom
}


def swaps_axes(orientation: int) -> bool:
    """True where the stored width is the upright height (orientations 5..8)."""
    return _TURNS[orientation][0]


def stored_view(upright: Pixels, orientation: int) -> Pixels:
    """A view of an upright array (H, W, ...) whose axes run as the rows and columns of the file.

    Writing the file's row ``y`` to ``view[y]`` thus fills the upright picture. ``orientation`` is 1..8.
    """
    transposed, first, second = _TURNS[orientation]
    view = np.swapaxes(upright, 0, 1) if transposed else upright
    return view[:: -1 if first else 1, :: -1 if second else 1]


def reverses_rows(orientation: int) -> bool:
    """True where the upright picture's last row comes first as the file is read: along its rows, or, where axes are
    swapped, along its columns.
    """
    swapped, first, second = _TURNS[orientation]
    return second if swapped else first
