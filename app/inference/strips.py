"""A large picture in strips that any worker can compute, and their way into the result's file.

Every strip is a group of bands of the one plan that the synchronous way has for this picture too, so that the result is
the same pixel for pixel, whoever computes which strip and in whatever order.
"""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from app.imaging.alpha import bleed_rows, rows_for_bleeding
from app.imaging.bands import SourceLayout, read_rows
from app.imaging.encode import open_encoder
from app.imaging.equalize import ChannelHistogram, apply_table, matching_table
from app.imaging.formats import check_holds
from app.imaging.picture import Layout, Pixels
from app.imaging.pyramid import PyramidWriter
from app.imaging.raw_rows import pack, unpack
from app.inference.course import Course, plot_course
from app.inference.engine import Engine
from app.inference.errors import UpscaleCancelledError
from app.inference.options import Options
from app.inference.registry import Registry
from app.inference.result import (
    Report,
    drops_alpha,
    encode,
    equalizes,
    output_format,
    output_layout,
    parts_for,
    plan_passes,
    report_of,
    run_passes,
    to_size,
)
from app.inference.row_source import HeldRows
from app.inference.tiles import Plan, plan_kept_squares, plan_of_tiles
from app.inference.upscale import never

MAX_STRIP_BYTES = 64 * 2**20
"""Finished rows of a strip, before they are packed, where the caller sets no other bound."""
# Before anything was measured: plain CPU cores with the shipped model make some megapixels a second.
_SECONDS_PER_PIXEL = 0.3e-6
# Finished rows are packed and read back in pieces of about this size.
_PIECE_BYTES = 8 * 2**20
# In front of a strip's packed rows: the bytes of the deflated histogram, 0 where there is none.
_HEAD = struct.Struct("<I")
# Rows of the source whose colours are counted at once: what bleeding works on.
_COUNTED_ROWS = 512


@dataclass(frozen=True, slots=True)
class Strip:
    """Rows [top, bottom) of what the last pass enlarges: of the source, or of the first pass's result where there are
    two.
    """

    index: int
    top: int
    bottom: int
    tiles: tuple[tuple[int, int], ...]
    """Height and width of the tiles of each pass: with them every worker cuts alike, whatever memory it may use."""

    def to_json(self) -> dict[str, Any]:
        """Of JSON's own types."""
        return {
            "index": self.index,
            "top": self.top,
            "bottom": self.bottom,
            "tiles": [list(edges) for edges in self.tiles],
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Strip:
        """What ``to_json`` gave. Raises KeyError, TypeError or ValueError for anything else."""
        tiles = tuple((int(height), int(width)) for height, width in content["tiles"])
        return cls(int(content["index"]), int(content["top"]), int(content["bottom"]), tiles)


def plan_strips(
    layout: SourceLayout,
    options: Options,
    engine: Engine,
    *,
    seconds_per_pixel: float | None = None,
    target_seconds: float = 5.0,
    max_bytes: int = MAX_STRIP_BYTES,
) -> list[Strip]:
    """How the picture is divided; from top to bottom, together all of its rows, at least one.

    ``seconds_per_pixel``: measured for this model on such a worker, seconds per pixel that the last pass makes (None:
    an estimate). A strip takes about ``target_seconds``, and its finished rows no more than ``max_bytes`` before they
    are packed; but at least one band of the plan, which the engine's memory setting bounds. The same arguments give the
    same strips. Only the engine's memory and device settings matter here, and only here: keep the list with the job.

    Raises what ``plot_course`` does, and FormatCannotHoldError where the result does not fit its format.
    """
    job = _Job.of(layout, options, engine.registry)
    plans = plan_passes(job.course, engine, pixel_bytes=job.channels * layout.bits // 8, tile=options.tile)
    last = plans[-1]
    scale = job.course.variants[-1].scale
    row_pixels = last.width * scale * scale
    row_seconds = (
        row_pixels * job.planes_count * (_SECONDS_PER_PIXEL if seconds_per_pixel is None else seconds_per_pixel)
    )
    row_bytes = row_pixels * job.channels * layout.bits // 8
    most = min(target_seconds / row_seconds, max_bytes / row_bytes)
    shapes = tuple(plan.shape for plan in plans)
    strips: list[Strip] = []
    top = 0
    for span, following in zip(last.rows, (*last.rows[1:], None), strict=True):
        if following is None or following.keep_stop - top > most:
            strips.append(Strip(len(strips), top, span.keep_stop, shapes))
            top = span.keep_stop
    return strips


def compute_strip(
    layout: SourceLayout,
    get: Callable[[int], bytes],
    strip: Strip,
    options: Options,
    engine: Engine,
    *,
    cancelled: Callable[[], bool] = never,
    progress: Callable[[float], None] | None = None,
) -> bytes:
    """The strip's finished rows, packed, with their histogram where colours will be equalised; ``get`` gives the
    source's bands. Deterministic: twice equals once.

    Raises the InferenceError family (UpscaleCancelledError soon after ``cancelled`` says so), what ``get`` raises, and
    ValueError for bands that are damaged.
    """
    job = _Job.of(layout, options, engine.registry)
    parts = parts_for(job.course, job.plans(strip), strip.top, strip.bottom)
    top, bottom = parts[0].rows[0].start, parts[0].rows[-1].stop
    upscaled = run_passes(
        HeldRows(job.planes(get, top, bottom), first=top),
        job.course,
        parts,
        engine,
        dtype=job.dtype,
        constant_alpha=job.constant_alpha,
        cancelled=cancelled,
        progress=progress,
    )
    histogram = ChannelHistogram(layout.colours, layout.bits) if equalizes(job.course, options) else None
    pieces = []
    with closing(upscaled.bands()) as bands:
        for band in bands:
            if histogram is not None:
                histogram.add(band)
            step = max(1, _PIECE_BYTES // (band.nbytes // band.shape[0]))
            pieces += [pack(band[at : at + step]) for at in range(0, band.shape[0], step)]
    counts = b"" if histogram is None else zlib.compress(histogram.counts.astype("<i8").tobytes(), 1)
    return b"".join([_HEAD.pack(len(counts)), counts, *pieces])


def assemble(
    layout: SourceLayout,
    strips: Sequence[Strip],
    get_strip: Callable[[int], bytes],
    target: BinaryIO,
    options: Options,
    *,
    registry: Registry,
    get: Callable[[int], bytes],
    threads: int = 1,
    cancelled: Callable[[], bool] = never,
    progress: Callable[[float], None] | None = None,
) -> Report:
    """Streams all strips into ``target`` (for TIFF: seekable and readable); memory does not grow with the picture's
    height.

    ``get_strip`` gives what ``compute_strip`` returned for an index; it is asked for each once, in order, and a second
    time where colours are equalised, for which ``get`` is asked for the source's bands too. ``cancelled`` is asked for
    every piece of about 8 MiB; ``progress`` gets the written part, 0..1. ``threads`` compress beside the caller.

    Raises UpscaleCancelledError, ValueError for strips that are damaged or not of this picture, the ImagingError family
    and what the callables raise. After an error ``target`` holds a part or nothing.
    """
    started = time.perf_counter()
    job = _Job.of(layout, options, registry)
    rows = job.finished_rows(strips, get_strip, get, cancelled, progress)
    encoder = open_encoder(job.format, target, job.layout, quality=options.quality, threads=threads)
    encoding = encode(rows, encoder)
    finished = time.perf_counter()
    plan = job.plans(strips[0])[-1]
    return report_of(
        job.course,
        job.format,
        notices=layout.notices,
        timings={"read": finished - started - encoding, "encode": encoding},
        provider="",
        plan=plan,
        tiles=plan.count * job.planes_count,
    )


def write_tiles(
    layout: SourceLayout,
    strips: Sequence[Strip],
    get_strip: Callable[[int], bytes],
    target: BinaryIO,
    options: Options,
    *,
    registry: Registry,
    get: Callable[[int], bytes],
    threads: int = 1,
    cancelled: Callable[[], bool] = never,
) -> None:
    """The pyramid (app.imaging.pyramid) of what ``assemble`` writes, into ``target``, which needs no seeking.

    The arguments and what it raises are those of ``assemble``: two workers may do the two at the same time.
    """
    job = _Job.of(layout, options, registry)
    with closing(PyramidWriter(target, job.layout, threads=threads)) as tiles:
        for band in job.finished_rows(strips, get_strip, get, cancelled):
            tiles.write(band)
        tiles.finish()


@dataclass(frozen=True, slots=True)
class _Job:
    """What follows from a source and the options."""

    source: SourceLayout
    options: Options
    course: Course
    format: str
    channels: int
    """Of the result."""
    layout: Layout

    @classmethod
    def of(cls, source: SourceLayout, options: Options, registry: Registry) -> _Job:
        course = plot_course(options, registry, source.width, source.height)
        wanted = output_format(options, source.source_format, has_alpha=source.has_alpha)
        channels = source.channels
        if source.has_alpha and drops_alpha(wanted, course, channels, source.bits, source.constant_alpha):
            channels = source.colours
        layout = output_layout(course, options, channels, source.bits, source.metadata)
        check_holds(wanted, layout)
        return cls(source, options, course, wanted, channels, layout)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.uint16 if self.source.bits == 16 else np.uint8)

    @property
    def constant_alpha(self) -> int | None:
        """What is filled in as alpha."""
        return self.source.constant_alpha if self.channels > self.source.colours else None

    @property
    def planes_count(self) -> int:
        """How often the network has to run over the picture: once more where alpha varies."""
        return 2 if self.channels > self.source.colours and self.source.constant_alpha is None else 1

    def plans(self, strip: Strip) -> list[Plan]:
        """Of each pass, for the whole picture."""
        width, height = self.course.source
        plans = []
        for variant, shape in zip(self.course.variants, strip.tiles, strict=True):
            halo = variant.entry.halo
            if self.options.tile is None:
                plans.append(plan_of_tiles(height, width, halo=halo, shape=shape))
            else:
                plans.append(plan_kept_squares(height, width, halo=halo, edge=self.options.tile))
            width, height = width * variant.scale, height * variant.scale
        return plans

    def planes(self, get: Callable[[int], bytes], top: int, bottom: int) -> list[Pixels]:
        """Rows [top, bottom) of the planes that go through the network; see ``row_source.planes_of``."""
        source = self.source
        if self.planes_count == 1:
            return [read_rows(source, get, top, bottom).pixels]
        low, high = rows_for_bleeding(top, bottom, source.height)
        picture = read_rows(source, get, low, high)
        assert picture.alpha is not None  # noqa: S101  # the layout says so
        colours = bleed_rows(picture.pixels, picture.alpha, first=low, top=top, bottom=bottom)
        return [colours, picture.alpha[top - low : bottom - low, :, np.newaxis]]

    def source_histogram(self, get: Callable[[int], bytes], cancelled: Callable[[], bool]) -> ChannelHistogram:
        histogram = ChannelHistogram(self.source.colours, self.source.bits)
        for top in range(0, self.source.height, _COUNTED_ROWS):
            _check(cancelled)
            histogram.add(self.planes(get, top, min(self.source.height, top + _COUNTED_ROWS))[0])
        return histogram

    def histogram(self, data: bytes, strip: Strip) -> Any:
        """The counts that came with a strip."""
        try:
            length = _HEAD.unpack_from(data)[0]
            counts = np.frombuffer(zlib.decompress(data[_HEAD.size : _HEAD.size + length]), "<i8")
            return counts.reshape(self.source.colours, 1 << self.source.bits)
        except (struct.error, zlib.error, ValueError) as error:
            raise ValueError(f"strip {strip.index} is damaged, or was computed without its histogram") from error

    def finished_rows(
        self,
        strips: Sequence[Strip],
        get_strip: Callable[[int], bytes],
        get: Callable[[int], bytes],
        cancelled: Callable[[], bool],
        progress: Callable[[float], None] | None = None,
    ) -> Iterator[Pixels]:
        """The result's rows, in its size and with its colours."""
        table = None
        if equalizes(self.course, self.options):
            output = ChannelHistogram(self.source.colours, self.source.bits)
            for strip in strips:
                _check(cancelled)
                output.counts += self.histogram(get_strip(strip.index), strip)
            table = matching_table(output, self.source_histogram(get, cancelled))
        done = 0
        for band in to_size(self.rows(strips, get_strip, table), self.course, self.source.colours):
            _check(cancelled)
            yield band
            done += band.shape[0]
            if progress is not None:
                progress(done / self.course.height)

    def rows(
        self, strips: Sequence[Strip], get_strip: Callable[[int], bytes], table: Pixels | None
    ) -> Iterator[Pixels]:
        """The enlarged picture's rows, with equalised colours where there is a table."""
        width, colours = self.course.enlarged[0], self.source.colours
        scale = self.course.variants[-1].scale
        for strip in strips:
            data = memoryview(get_strip(strip.index))
            missing = (strip.bottom - strip.top) * scale
            start = _HEAD.size + (_HEAD.unpack_from(data)[0] if len(data) >= _HEAD.size else 0)
            for rows in unpack(data[start:]):
                missing -= rows.shape[0]
                if rows.shape[1:] != (width, self.channels) or rows.dtype != self.dtype or missing < 0:
                    raise ValueError(f"strip {strip.index} holds {rows.shape} {rows.dtype}: it is of another picture")
                if table is not None:
                    rows[:, :, :colours] = apply_table(rows[:, :, :colours], table)
                yield rows
            if missing:
                raise ValueError(f"strip {strip.index} lacks {missing} rows")


def _check(cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise UpscaleCancelledError("The picture was cancelled.")
