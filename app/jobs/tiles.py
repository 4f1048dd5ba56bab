"""Tiles of a large result for viewers, and of what it was before: the source, enlarged bicubically."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from app.imaging.bands import SourceLayout
from app.imaging.before import bicubic_tile
from app.imaging.pyramid import PyramidReader
from app.storage import Storage

Which = Literal["result", "before"]

_KEPT = 16
"""Indexes of pyramids that are kept in memory: some hundred kilobytes each."""


@dataclass(frozen=True, slots=True)
class _Opened:
    result: PyramidReader
    before: PyramidReader
    layout: SourceLayout


class Tiles:
    """Reads tiles; blocks, and is safe to use from several threads."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._opened: OrderedDict[str, _Opened] = OrderedDict()
        self._lock = threading.Lock()

    def levels(self, told: Mapping[str, Any]) -> int:
        """How many sizes there are, each half of the one before. ``told``: ``Job.tiles``."""
        return len(self._open(told).result.levels)

    def tile(self, told: Mapping[str, Any], which: Which, level: int, column: int, row: int) -> tuple[bytes, str]:
        """(bytes, media type). Raises IndexError for a tile that there is not, MissingObjectError and StorageError."""
        opened = self._open(told)
        if which == "result":
            return opened.result.tile(level, column, row), opened.result.media_type
        return bicubic_tile(
            opened.layout,
            lambda number: self._storage.get(f"{told['bands']}/{number}"),
            opened.before,
            size=(told["width"], told["height"]),
            box=tuple(told["box"]),
            tile=(level, column, row),
        )

    def _open(self, told: Mapping[str, Any]) -> _Opened:
        key = told["pyramid"]["key"]
        with self._lock:
            if key in self._opened:
                self._opened.move_to_end(key)
                return self._opened[key]
        plan = json.loads(self._storage.get(told["plan"]))
        opened = _Opened(
            self._reader(told["pyramid"]), self._reader(told["before"]), SourceLayout.from_json(plan["layout"])
        )
        with self._lock:
            self._opened[key] = opened
            while len(self._opened) > _KEPT:
                self._opened.popitem(last=False)
        return opened

    def _reader(self, where: Mapping[str, Any]) -> PyramidReader:
        return PyramidReader(lambda start, length: self._storage.get(where["key"], start, length), where["bytes"])
