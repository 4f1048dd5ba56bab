"""Where the network's input comes from: rows of planes, each of which goes through the network by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np

from app.imaging.alpha import bleed, constant_alpha
from app.imaging.picture import Picture, Pixels


class RowSource(Protocol):
    """Planes (height, width, 3 colours or 1: grey or alpha) of which rows are handed out, from top to bottom."""

    @property
    def planes(self) -> Sequence[int]:
        """Channels of each plane: 3 or 1."""

    def rows(self, top: int, bottom: int) -> list[Pixels]:
        """Rows [top, bottom) of every plane; ``top`` never falls from one call to the next. Not to be changed."""


class HeldRows:
    """Planes that are in memory, the whole or the rows from ``first`` on."""

    def __init__(self, planes: Sequence[Pixels], *, first: int = 0) -> None:
        self._planes = planes
        self._first = first

    @property
    def planes(self) -> Sequence[int]:
        return [int(plane.shape[2]) for plane in self._planes]

    @property
    def colours(self) -> Pixels:
        """The first plane."""
        return self._planes[0]

    def rows(self, top: int, bottom: int) -> list[Pixels]:
        return [plane[top - self._first : bottom - self._first] for plane in self._planes]


class ComingRows:
    """Planes that are computed one band after another; only those rows are kept that are still asked for."""

    def __init__(self, bands: Iterator[Pixels], planes: Sequence[int], *, first: int = 0) -> None:
        """``bands``: (n, width, all planes' channels) from row ``first`` on."""
        self._bands = bands
        self._channels = planes
        self._first = first
        self._held: list[Pixels] = []

    @property
    def planes(self) -> Sequence[int]:
        return self._channels

    def rows(self, top: int, bottom: int) -> list[Pixels]:
        while self._held and self._first + self._held[0].shape[0] <= top:
            self._first += self._held.pop(0).shape[0]
        while self._first + sum(band.shape[0] for band in self._held) < bottom:
            self._held.append(next(self._bands))
            if len(self._held) == 1 and self._first + self._held[0].shape[0] <= top:
                self._first += self._held.pop(0).shape[0]
        together = self._held[0] if len(self._held) == 1 else np.concatenate(self._held)
        together = together[top - self._first : bottom - self._first]
        edges = np.cumsum([0, *self._channels])
        return [together[:, :, low:high] for low, high in pairwise(edges)]


def planes_of(picture: Picture) -> tuple[HeldRows, int | None]:
    """(a picture's planes, the level of alpha where it does not vary): colours bled under transparent pixels, then
    alpha as a grey plane of its own unless it is constant.
    """
    if picture.alpha is None:
        return HeldRows([picture.pixels]), None
    constant = constant_alpha(picture.alpha)
    if constant is not None:
        return HeldRows([picture.pixels]), constant
    return HeldRows([bleed(picture.pixels, picture.alpha), picture.alpha[:, :, np.newaxis]]), None
