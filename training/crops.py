"""Square windows of pictures, cut in batches: from memory, or from a pack that lies wholly on the device.

Both ways cut the same: a window may reach beyond its picture, which is then continued by mirroring as ``resize`` does,
and is turned as its row says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training.pack import Pack
from training.photo_files import Pixels
from training.photos import Photos
from training.resize import mirror

UPSIDE_DOWN, MIRRORED, TRANSPOSED = 1, 2, 4
"""Bits of a turn: rows reversed, then columns reversed, then both axes exchanged. 0..7 are all eight orientations."""
LOAD_BYTES = 256 << 20  # sent to the device at a time, so that the host never holds a second pack


@dataclass(frozen=True, slots=True)
class Window:
    """Where a window begins in its picture (pixels, may be negative) and how it is turned."""

    picture: int
    top: int
    left: int
    turn: int = 0


class MappedCrops:
    """Cuts on the host, from pictures in memory or mapped from disk; only the windows travel to the device.

    Pictures end at the last multiple of ``multiple``, as LR is made of them.
    """

    def __init__(self, photos: Photos, multiple: int, device: torch.device) -> None:
        self._photos = photos
        self._multiple = multiple
        self._device = device

    def cut(self, windows: Sequence[Window], edge: int) -> Tensor:
        """(N, edge, edge, 3) uint8 on the device."""
        cuts = np.empty((len(windows), edge, edge, 3), np.uint8)
        for cut, window in zip(cuts, windows, strict=True):
            pixels = self._photos[window.picture]
            height, width = (side - side % self._multiple for side in pixels.shape[:2])
            if 0 <= window.top <= height - edge and 0 <= window.left <= width - edge:
                piece = pixels[window.top : window.top + edge, window.left : window.left + edge]
            else:
                rows = mirror(np.arange(window.top, window.top + edge), height)
                piece = pixels[rows][:, mirror(np.arange(window.left, window.left + edge), width)]
            piece = turned(piece, window.turn)
            for channel in range(3):  # all at once, numpy copies a turned piece nine times slower
                cut[..., channel] = piece[..., channel]
        return to_device(cuts, self._device)


class ResidentCrops:
    """Cuts on the device, from a copy of the whole pack there; only the windows' coordinates travel.

    Nothing waits for the device. ``multiple`` as in ``MappedCrops``.
    """

    def __init__(self, pack: Pack, multiple: int, device: torch.device) -> None:
        sizes = np.array([(entry.height, entry.width) for entry in pack.entries])
        self._extents = sizes - sizes % multiple
        self._strides = sizes[:, 1]
        areas = sizes.prod(axis=1)
        self._begins = np.cumsum(areas) - areas
        self._device = device
        self._pixels = torch.empty(int(areas.sum()), 3, dtype=torch.uint8, device=device)
        index = 0
        while index < len(pack):
            part = [pack[index].reshape(-1, 3)]
            while sum(map(len, part)) * 3 < LOAD_BYTES and index + len(part) < len(pack):
                part.append(pack[index + len(part)].reshape(-1, 3))
            begin = int(self._begins[index])
            pixels = np.concatenate(part)
            self._pixels[begin : begin + len(pixels)].copy_(torch.from_numpy(pixels))
            index += len(part)

    def cut(self, windows: Sequence[Window], edge: int) -> Tensor:
        """(N, edge, edge, 3) uint8 on the device."""
        ways = np.empty((len(windows), 2 * edge + 1), np.int64)
        for way, window in zip(ways, windows, strict=True):
            height, width = self._extents[window.picture]
            rows, columns = _flipped(edge, window.turn)
            way[:edge] = mirror(rows + window.top, height) * self._strides[window.picture]
            way[:edge] += self._begins[window.picture]
            way[edge:-1] = mirror(columns + window.left, width)
            way[-1] = window.turn & TRANSPOSED
        places = _places(to_device(ways, self._device), edge)
        return self._pixels.index_select(0, places.flatten()).view(len(windows), edge, edge, 3)


def turned(piece: Pixels, turn: int) -> Pixels:
    """A view of ``piece`` (H, W, C) in one of its eight orientations."""
    piece = piece[:: -1 if turn & UPSIDE_DOWN else 1, :: -1 if turn & MIRRORED else 1]
    return piece.swapaxes(0, 1) if turn & TRANSPOSED else piece


def inner_patches(outer: Tensor, windows: Sequence[Window], edge: int) -> Tensor:
    """Of each row of ``outer`` (N, C, H, W) the window of ``edge`` pixels, turned: (N, C, edge, edge)."""
    ways = np.empty((len(windows), 2 * edge + 1), np.int64)
    for way, window in zip(ways, windows, strict=True):
        rows, columns = _flipped(edge, window.turn)
        way[:edge] = (rows + window.top) * outer.shape[3]
        way[edge:-1] = columns + window.left
        way[-1] = window.turn & TRANSPOSED
    places = _places(to_device(ways, outer.device), edge).flatten(1)
    channels = outer.shape[1]
    inner = outer.flatten(2).gather(2, places[:, None].expand(-1, channels, -1))
    return inner.view(-1, channels, edge, edge)


def _flipped(edge: int, turn: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    there = np.arange(edge)
    return there[:: -1 if turn & UPSIDE_DOWN else 1], there[:: -1 if turn & MIRRORED else 1]


def _places(ways: Tensor, edge: int) -> Tensor:
    """Flat positions (N, edge, edge) of rows of ``edge`` row offsets, ``edge`` column offsets and a transposed flag."""
    places = ways[:, :edge, None] + ways[:, None, edge:-1]
    return torch.where(ways[:, -1, None, None] != 0, places.transpose(1, 2), places)


def to_device(array: npt.NDArray[np.generic], device: torch.device) -> Tensor:
    """``array`` as a tensor on ``device``; the host does not wait for the copy."""
    tensor = torch.from_numpy(array)
    # Only from pinned memory is the copy asynchronous; PyTorch keeps the memory until the copy has happened.
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)
