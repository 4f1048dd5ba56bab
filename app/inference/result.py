"""The steps that the synchronous way and a job's strips share: which format, which passes, and finished rows to a
file.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.imaging.animation import check_frames
from app.imaging.encode import RowEncoder
from app.imaging.formats import FORMATS, becomes_animation, check_holds, choose_format
from app.imaging.header import Header
from app.imaging.metadata import for_output
from app.imaging.picture import Layout, Metadata, Pixels
from app.imaging.resample import resampled
from app.inference.course import Course, check_course
from app.inference.engine import Engine
from app.inference.options import Limits, Options
from app.inference.row_source import ComingRows, RowSource
from app.inference.tiles import Plan
from app.inference.upscale import Upscaled, never, upscale_rows


@dataclass(frozen=True)
class Report:
    """What was done."""

    model: str
    version: str
    scale: float
    """How many times larger the result is, along the side that grows most."""
    passes: tuple[int, ...]
    """The factors of the networks that it went through, one after another."""
    format: str
    """A name in FORMATS, never ``same``."""
    media_type: str
    extension: str
    """Without the dot."""
    width: int
    height: int
    source_width: int
    source_height: int
    notices: tuple[str, ...]
    """Things the caller must be told, e.g. ``first-frame-only``."""
    timings: dict[str, float]
    """Wall seconds: ``decode``, ``inference`` (waiting for rows) and ``encode`` (the next rows are computed
    meanwhile)."""
    provider: str
    """onnxruntime's name of the execution provider; empty where rows were computed by several workers."""
    halo: int
    tile: tuple[int, int]
    """Height and width of a tile of the last pass in its input's pixels, halo included."""
    tiles: int


def output_format(options: Options, source_format: str, *, has_alpha: bool, frames: int = 1) -> str:
    """The name in FORMATS that ``options.format`` is for such a source. Raises ValueError for an unknown one."""
    wanted = choose_format(options.format, source_format, frames=frames)
    if options.format == "same" and has_alpha and not FORMATS[wanted].holds_alpha:
        return "png"  # HEIC with transparency: its caller never chose JPEG
    return wanted


def animates(header: Header, options: Options) -> bool:
    """Whether the result is an animation: it is made frame by frame, by ``enlarge`` alone. Raises ValueError for an
    unknown format.
    """
    wanted = output_format(options, header.format, has_alpha=header.has_alpha, frames=header.frames)
    return becomes_animation(wanted, header.format, header.frames)


def output_frames(header: Header, options: Options) -> int:
    """Frames of the result. Raises ValueError for an unknown format."""
    return header.frames if animates(header, options) else 1


def check_header(header: Header, course: Course, options: Options, limits: Limits) -> str:
    """The output format, if all that can be said before a pixel is decoded allows it.

    Raises PictureTooLargeError or FormatCannotHoldError. The input's own limit is checked by whoever decodes.
    """
    wanted = output_format(options, header.format, has_alpha=header.has_alpha, frames=header.frames)
    frames = output_frames(header, options)
    if limits.max_input_pixels is None or header.width * header.height <= limits.max_input_pixels:
        check_frames(frames, limits.max_frames)
        check_course(course, limits, frames=frames)
        # Whether alpha can be left out is not known before the pixels are: see drops_alpha.
        channels = 4 if header.has_alpha and FORMATS[wanted].holds_alpha else 3
        layout = Layout(course.width, course.height, channels, header.bits)
        check_holds(wanted, layout, animated=animates(header, options))
    return wanted


def drops_alpha(wanted: str, course: Course, channels: int, bits: int, constant_alpha: int | None) -> bool:
    """Whether a source with alpha (2 or 4 ``channels``) is written without: where the format cannot hold alpha, and
    alpha is opaque everywhere, as in most screenshots.

    Raises FormatCannotHoldError where something is transparent: what to put there is the caller's to say.
    """
    if FORMATS[wanted].holds_alpha:
        return False
    if constant_alpha != (1 << bits) - 1:
        check_holds(wanted, Layout(course.width, course.height, channels, bits))
    return True


def output_layout(course: Course, options: Options, channels: int, bits: int, metadata: Metadata) -> Layout:
    """What the encoder is told; ``metadata`` is the source's."""
    kept = for_output(
        metadata,
        scale=course.factor,
        width=course.width,
        height=course.height,
        keep=options.metadata == "keep",
    )
    return Layout(course.width, course.height, channels, bits, kept)


def equalizes(course: Course, options: Options) -> bool:
    """Whether the result gets the source's colour histogram."""
    if options.equalize_colors is None:
        return course.variants[0].manifest.equalize_colors
    return options.equalize_colors


def plan_passes(course: Course, engine: Engine, *, pixel_bytes: int, tile: int | None) -> list[Plan]:
    """How each pass is cut; ``pixel_bytes`` is the size of one finished pixel."""
    width, height = course.source
    plans = []
    for variant in course.variants:
        plans.append(engine.plan(variant, height, width, pixel_bytes=pixel_bytes, tile=tile))
        width, height = width * variant.scale, height * variant.scale
    return plans


def parts_for(course: Course, plans: Sequence[Plan], top: int, bottom: int) -> list[Plan]:
    """Of each pass the bands that are needed for rows [top, bottom) of what the last pass enlarges; ``top`` and
    ``bottom`` are where its bands meet.
    """
    parts = [plans[-1].part(top, bottom)]
    for variant, plan in zip(reversed(course.variants[:-1]), reversed(plans[:-1]), strict=True):
        start, stop = parts[0].rows[0].start, parts[0].rows[-1].stop
        parts.insert(0, plan.part(start // variant.scale, -(-stop // variant.scale)))
    return parts


def run_passes(
    source: RowSource,
    course: Course,
    plans: Sequence[Plan],
    engine: Engine,
    *,
    dtype: np.dtype[Any],
    constant_alpha: int | None,
    cancelled: Callable[[], bool] = never,
    progress: Callable[[float], None] | None = None,
) -> Upscaled:
    """The last pass, which asks the others for their rows as it needs them; nothing is computed yet.

    ``constant_alpha`` is filled in by it. ``progress`` is that of the last pass: by far the larger one.
    """
    *firsts, last = zip(course.variants, plans, strict=True)
    for variant, plan in firsts:
        upscaled = upscale_rows(source, variant, engine, plan, dtype=dtype, cancelled=cancelled)
        source = ComingRows(upscaled.bands(), upscaled.planes, first=plan.rows[0].keep * variant.scale)
    variant, plan = last
    return upscale_rows(
        source,
        variant,
        engine,
        plan,
        dtype=dtype,
        constant_alpha=constant_alpha,
        cancelled=cancelled,
        progress=progress,
    )


def encode(rows: Iterable[Pixels], encoder: RowEncoder) -> float:
    """Writes all rows and closes the encoder; returns the seconds spent on writing alone."""
    seconds = 0.0
    with closing(encoder):
        for band in rows:
            before = time.perf_counter()
            encoder.write(band)
            seconds += time.perf_counter() - before
        before = time.perf_counter()
        encoder.finish()
        seconds += time.perf_counter() - before
    return seconds


def report_of(
    course: Course,
    wanted: str,
    *,
    notices: tuple[str, ...],
    timings: dict[str, float],
    provider: str,
    plan: Plan,
    tiles: int,
) -> Report:
    """What was done, as ``course`` and ``plan`` (of the last pass) say."""
    manifest = course.variants[0].manifest
    return Report(
        model=manifest.name,
        version=manifest.version,
        scale=course.factor,
        passes=tuple(variant.scale for variant in course.variants),
        format=wanted,
        media_type=FORMATS[wanted].media_type,
        extension=FORMATS[wanted].extension,
        width=course.width,
        height=course.height,
        source_width=course.source[0],
        source_height=course.source[1],
        notices=notices,
        timings=timings,
        provider=provider,
        halo=plan.halo,
        tile=plan.shape,
        tiles=tiles,
    )


def to_size(rows: Iterator[Pixels], course: Course, colours: int) -> Iterator[Pixels]:
    """Rows of the enlarged picture to rows of the result; ``colours``: channels without alpha."""
    if not course.resamples:
        return rows
    return resampled(rows, colours=colours, source=course.enlarged, box=course.box, size=(course.width, course.height))
