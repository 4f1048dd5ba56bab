"""Pixels to enlarged pixels: cuts a picture into tiles, has them run, and hands out finished rows."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from app.imaging.picture import Picture, Pixels
from app.inference.batcher import Line
from app.inference.engine import Engine
from app.inference.errors import DeviceOutOfMemoryError, UpscaleCancelledError
from app.inference.graph import Graph
from app.inference.registry import Variant
from app.inference.row_source import RowSource, planes_of
from app.inference.tiles import Plan, Span, Tile, halves

# How soon a cancelled picture is noticed while its tiles run or wait.
_POLL_SECONDS = 0.1


def never() -> bool:
    """The ``cancelled`` of whoever never cancels."""
    return False


@dataclass(frozen=True, slots=True)
class _Plane:
    """Rows of the channels that go through the network together."""

    pixels: Pixels
    """(n, W, 3) colours, or (n, W, 1): grey is shown to the network as three equal channels."""
    top: int
    """The picture's row that is the first of them."""
    first: int
    """Its first channel in the output."""

    @property
    def channels(self) -> int:
        return int(self.pixels.shape[2])


@dataclass(slots=True)
class _Band:
    """Output rows that are being filled."""

    rows: Pixels | None
    """None until the one tile's answer, of which these rows are a part, takes this place: copying it into fresh
    memory took 9 % of the time of a 512 x 512 picture."""
    span: Span
    todo: deque[tuple[_Plane, Tile]]
    running: dict[Future[None], tuple[_Plane, Tile]] = field(default_factory=dict)


class Upscaled:
    """A picture, or some of its rows, on the way through the network once; made by ``upscale`` and ``upscale_rows``."""

    def __init__(
        self,
        source: RowSource,
        graph: Graph,
        engine: Engine,
        plan: Plan,
        scale: int,
        *,
        dtype: np.dtype[Any],
        constant_alpha: int | None,
        cancelled: Callable[[], bool],
        progress: Callable[[float], None] | None,
    ) -> None:
        self.plan = plan
        self.provider = graph.provider
        """onnxruntime's name of the execution provider."""
        self.width = plan.width * scale
        self.height = plan.height * scale
        """Of the whole picture, also where the plan is a part of it."""
        self.planes = tuple(source.planes)
        self.channels = sum(self.planes) + (constant_alpha is not None)
        """1 grey, 2 grey + alpha, 3 RGB, 4 RGB + alpha."""
        self._source = source
        self._dtype = dtype
        self._graph = graph
        self._engine = engine
        self._scale = scale
        self._cancelled = cancelled
        self._progress = progress
        self._constant_alpha = constant_alpha
        kept_rows = sum(span.keep_stop - span.keep for span in plan.rows)
        self._to_do = kept_rows * plan.width * len(self.planes)
        self._done = 0
        self._largest: float = float("inf")
        """Input pixels of a tile that the device may still have memory for."""

    @property
    def tiles(self) -> int:
        """Tiles of all planes together, as planned (a tile that a device has no memory for becomes two)."""
        return self.plan.count * len(self.planes)

    def bands(self) -> Generator[Pixels]:
        """Finished rows, (n, width, channels) in the picture's own type, from top to bottom.

        While the caller works on one band the next is computed: two are in memory, never more. To be iterated
        once; closing the iterator drops what has not run yet. Raises what a tile failed with, and
        UpscaleCancelledError.
        """
        with self._engine.line() as line:
            coming = self.plan.bands()
            band = self._begin(line, next(coming, None))
            while band is not None:
                self._finish(line, band)
                rows = band.rows
                assert rows is not None  # noqa: S101  # the band is finished
                band = self._begin(line, next(coming, None))
                yield rows
                # Else these rows would stay in memory beside the two bands that follow.
                del rows

    def _begin(self, line: Line, band: tuple[Span, list[Tile]] | None) -> _Band | None:
        if band is None:
            return None
        span, tiles = band
        planes, first = [], 0
        for rows in self._source.rows(span.start, span.stop):
            planes.append(_Plane(rows, span.start, first))
            first += rows.shape[2]
        is_answer = len(tiles) == 1 and self.channels == 3 and self._dtype == np.uint8
        begun = _Band(
            None if is_answer else self._rows_of(span),
            span,
            deque((plane, tile) for tile in tiles for plane in planes),
        )
        self._submit(line, begun)
        return begun

    def _rows_of(self, span: Span) -> Pixels:
        """Room for the rows of a band."""
        height = (span.keep_stop - span.keep) * self._scale
        rows = np.empty((height, self.width, self.channels), self._dtype)
        if self._constant_alpha is not None:
            rows[:, :, -1] = self._constant_alpha
        return rows

    def _submit(self, line: Line, band: _Band) -> None:
        """Queues tiles of the band, as many as one picture may have in the queue."""
        while band.todo and len(band.running) < self._engine.queue_tiles:
            plane, tile = band.todo.popleft()
            if tile.area > self._largest:
                self._halve(band, plane, tile, DeviceOutOfMemoryError("The device has no memory for the tiles."))
                continue
            rows = slice(tile.rows.start - plane.top, tile.rows.stop - plane.top)
            columns = slice(tile.columns.start, tile.columns.stop)
            pixels = _for_network(plane.pixels[rows, columns])
            future = line.submit(self._graph, pixels, _Stitch(band, plane, tile, self._scale))
            band.running[future] = plane, tile

    def _finish(self, line: Line, band: _Band) -> None:
        """Returns when all rows of the band are there."""
        while band.running or band.todo:
            self._submit(line, band)
            done, _ = wait(band.running, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
            if self._cancelled():
                raise UpscaleCancelledError("The picture was cancelled.")
            for future in done:
                plane, tile = band.running.pop(future)
                error = future.exception()
                if isinstance(error, DeviceOutOfMemoryError):
                    self._largest = min(self._largest, tile.area - 1)
                    self._halve(band, plane, tile, error)
                elif error is not None:
                    raise error
                else:
                    self._done += tile.kept_area
            if done and self._progress is not None:
                self._progress(self._done / self._to_do)

    def _halve(self, band: _Band, plane: _Plane, tile: Tile, error: DeviceOutOfMemoryError) -> None:
        smaller = halves(tile, self.plan)
        if smaller is None:
            raise error
        if band.rows is None:
            band.rows = self._rows_of(band.span)
        band.todo.extendleft((plane, half) for half in reversed(smaller))


class _Stitch:
    """Puts what is kept of a tile's answer into its place in the band."""

    def __init__(self, band: _Band, plane: _Plane, tile: Tile, scale: int) -> None:
        top, bottom = tile.rows.keep, tile.rows.keep_stop
        left, right = tile.columns.keep, tile.columns.keep_stop
        self._band = band
        self._place = (
            slice((top - band.span.keep) * scale, (bottom - band.span.keep) * scale),
            slice(left * scale, right * scale),
            slice(plane.first, plane.first + plane.channels),
        )
        self._kept = (
            slice((top - tile.rows.start) * scale, (bottom - tile.rows.start) * scale),
            slice((left - tile.columns.start) * scale, (right - tile.columns.start) * scale),
        )

    def __call__(self, answer: Pixels) -> None:
        """``answer``: (s*H, s*W, 3), as the network gave it."""
        kept = answer[self._kept]
        if self._band.rows is None:
            self._band.rows = kept
            return
        place = self._band.rows[self._place]
        if place.shape[2] == 1:
            kept = _mean_of_channels(kept)
        if kept.dtype.kind == "f":
            # [0, 1] -> levels; + 0.5 since the copy below cuts off decimals.
            kept = kept * np.float32(65535) + np.float32(0.5)
        np.copyto(place, kept, casting="unsafe")


def upscale(
    picture: Picture,
    variant: Variant,
    engine: Engine,
    *,
    tile: int | None = None,
    cancelled: Callable[[], bool] = never,
    progress: Callable[[float], None] | None = None,
) -> Upscaled:
    """Plans the enlargement of ``picture``; ``bands()`` of the answer computes it.

    Grey stays grey. Alpha is enlarged as grey by the same network, with colours bled under transparent pixels
    first; constant alpha is filled in. 16-bit pictures go through the network's float twin. ``tile``: edge of
    the kept squares in input pixels (None: as the engine's memory allows). ``cancelled`` is asked at least
    ten times a second while a band is waited for; ``progress`` gets the finished part of the picture, 0..1,
    in the caller's thread.

    Raises BrokenModelError.
    """
    pixel_bytes = (picture.channels + (picture.alpha is not None)) * picture.bits // 8
    plan = engine.plan(variant, picture.height, picture.width, pixel_bytes=pixel_bytes, tile=tile)
    source, constant = planes_of(picture)
    return upscale_rows(
        source,
        variant,
        engine,
        plan,
        dtype=picture.pixels.dtype,
        constant_alpha=constant,
        cancelled=cancelled,
        progress=progress,
    )


def upscale_rows(
    source: RowSource,
    variant: Variant,
    engine: Engine,
    plan: Plan,
    *,
    dtype: np.dtype[Any],
    constant_alpha: int | None = None,
    cancelled: Callable[[], bool] = never,
    progress: Callable[[float], None] | None = None,
) -> Upscaled:
    """As ``upscale``, of rows that come from ``source``, cut as ``plan`` says: of a whole picture, or a part of its
    bands.

    A tile's answer depends on its own input alone, so that bands of one plan are the same computed together or apart.
    ``dtype`` is uint8 or uint16; ``constant_alpha`` is filled in as one more channel. Raises BrokenModelError.
    """
    graph = engine.graph(variant, "uint8" if dtype == np.uint8 else "float")
    return Upscaled(
        source,
        graph,
        engine,
        plan,
        variant.scale,
        dtype=dtype,
        constant_alpha=constant_alpha,
        cancelled=cancelled,
        progress=progress,
    )


def _for_network(region: Pixels) -> Pixels:
    """(h, w, 1 or 3) of the picture -> (h, w, 3), contiguous: uint8 as it is, uint16 as float32 in [0, 1]."""
    if region.dtype != np.uint8:
        region = np.divide(region, 65535, dtype=np.float32)
    return np.ascontiguousarray(np.broadcast_to(region, (*region.shape[:2], 3)))


def _mean_of_channels(pixels: Pixels) -> Pixels:
    """(h, w, 3) -> (h, w, 1): float, or the mean rounded to a level."""
    if pixels.dtype.kind == "f":
        mean: Pixels = pixels.mean(axis=2, keepdims=True, dtype=np.float32)
        return mean
    rounded: Pixels = (pixels.sum(axis=2, keepdims=True, dtype=np.uint16) + 1) // 3
    return rounded
