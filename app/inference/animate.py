"""The way of an animation: every frame through the same steps as a picture, one after another."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

import numpy as np

from app.imaging.animation import open_animation, open_animation_writer
from app.imaging.colour import to_srgb
from app.imaging.formats import check_holds
from app.imaging.picture import Pixels
from app.inference.course import Course
from app.inference.engine import Engine
from app.inference.equalized import equalized
from app.inference.options import Limits, Options
from app.inference.result import Report, equalizes, output_layout, plan_passes, report_of, run_passes, to_size
from app.inference.row_source import HeldRows, planes_of
from app.inference.upscale import Upscaled, never


def enlarge_animation(
    source: BinaryIO,
    target: BinaryIO,
    options: Options,
    engine: Engine,
    *,
    course: Course,
    wanted: str,
    limits: Limits,
    cancelled: Callable[[], bool] = never,
    progress: Callable[[float], None] | None = None,
    scratch: Path | None = None,
) -> Report:
    """As ``enlarge``, of all frames of ``source``; timing, loop count and transparency stay, disposal is carried out.

    ``course`` and ``wanted`` (``gif``, ``webp`` or ``apng``) were checked by ``check_header``. Memory: a few frames of
    the result. Where colours are equalised, every frame gets the histogram of its own source. Raises as ``enlarge``
    does.
    """
    started = time.perf_counter()
    source.seek(0)
    decoding = encoding = 0.0
    with open_animation(source, max_pixels=limits.max_input_pixels, max_frames=limits.max_frames) as (known, frames):
        channels = 4 if known.has_alpha else 3
        layout = output_layout(course, options, channels, 8, known.metadata)
        check_holds(wanted, layout, animated=True)
        writer = open_animation_writer(wanted, target, layout, known, quality=options.quality, threads=engine.threads)
        plans = plan_passes(course, engine, pixel_bytes=channels, tile=options.tile)
        decoding = time.perf_counter() - started
        for done in range(known.frames):

            def tell(part: float, done: int = done) -> None:
                if progress is not None:
                    progress((done + part) / known.frames)

            before = time.perf_counter()
            picture = next(frames)
            if options.metadata == "strip":
                picture = to_srgb(picture)
            decoding += time.perf_counter() - before
            planes, constant = planes_of(picture)
            upscaled = run_passes(
                planes,
                course,
                plans,
                engine,
                dtype=picture.pixels.dtype,
                constant_alpha=constant,
                cancelled=cancelled,
                progress=tell,
            )
            frame = _whole(upscaled, planes, course, scratch, equalize=equalizes(course, options))
            before = time.perf_counter()
            writer.write(frame)
            encoding += time.perf_counter() - before
        writer.finish()
    return report_of(
        course,
        wanted,
        notices=(),
        timings={
            "decode": decoding,
            "inference": time.perf_counter() - started - decoding - encoding,
            "encode": encoding,
        },
        provider=upscaled.provider,
        plan=upscaled.plan,
        tiles=upscaled.tiles * known.frames,
    )


def _whole(upscaled: Upscaled, planes: HeldRows, course: Course, scratch: Path | None, *, equalize: bool) -> Pixels:
    """The frame's pixels in the result's size."""
    with closing(upscaled.bands()) as bands:
        rows: Iterator[Pixels] = equalized(bands, planes.colours, scratch) if equalize else bands
        return np.concatenate(list(to_size(rows, course, planes.colours.shape[2])))
