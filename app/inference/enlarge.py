"""The way of one picture: bytes in, larger picture's bytes out. HTTP and the command line go it; a job goes the same
steps strip by strip (app.inference.strips)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from app.imaging.alpha import constant_alpha
from app.imaging.colour import to_srgb
from app.imaging.decoder import IN_PROCESS, Decoder, DecodingCancelledError
from app.imaging.encode import open_encoder
from app.imaging.header import Header
from app.imaging.picture import Pixels
from app.inference.animate import enlarge_animation
from app.inference.course import check_options, plot_course
from app.inference.engine import Engine
from app.inference.equalized import equalized
from app.inference.errors import UpscaleCancelledError
from app.inference.options import Fit, Limits, Options
from app.inference.result import (
    Report,
    animates,
    check_header,
    drops_alpha,
    encode,
    equalizes,
    output_layout,
    plan_passes,
    report_of,
    run_passes,
    to_size,
)
from app.inference.row_source import planes_of
from app.inference.upscale import never

__all__ = ["Fit", "Limits", "Options", "Report", "enlarge"]


def enlarge(
    source: BinaryIO,
    target: BinaryIO,
    options: Options,
    engine: Engine,
    *,
    limits: Limits,
    cancelled: Callable[[], bool] = never,
    progress: Callable[[float], None] | None = None,
    scratch: Path | None = None,
    decoder: Decoder = IN_PROCESS,
    header: Header | None = None,
) -> Report:
    """Reads the picture in ``source`` (seekable) and writes the enlarged one to ``target`` (for TIFF:
    seekable).

    Blocks until ``target`` holds the whole result; after an error it holds a part or nothing, and is the
    caller's to remove. Everything that can be refused is refused from the header, before pixels are decoded.
    ``cancelled`` and ``progress`` as in ``upscale``. ``scratch``: folder for a temporary file of the output's
    size in raw bytes, written only while colours are equalised (None: the system's). ``decoder`` reads the source.
    ``header``: the source's, from whoever has read it already.

    Raises the ImagingError family (PictureTooLargeError ``output_too_large`` for an output above its limit),
    the InferenceError family, and ValueError for a format, quality or fit that does not exist.
    """
    check_options(options, engine.registry)
    started = time.perf_counter()
    source.seek(0)
    header = header or decoder.read_header(source)
    course = plot_course(options, engine.registry, header.width, header.height)
    wanted = check_header(header, course, options, limits)
    if animates(header, options):
        return enlarge_animation(
            source,
            target,
            options,
            engine,
            course=course,
            wanted=wanted,
            limits=limits,
            cancelled=cancelled,
            progress=progress,
            scratch=scratch,
        )
    source.seek(0)
    try:
        picture = decoder.decode(source, max_pixels=limits.max_input_pixels, cancelled=cancelled)
    except DecodingCancelledError as error:
        raise UpscaleCancelledError("The picture was cancelled.") from error
    if picture.alpha is not None and drops_alpha(
        wanted, course, picture.channels + 1, picture.bits, constant_alpha(picture.alpha)
    ):
        picture = replace(picture, alpha=None)
    if options.metadata == "strip":
        picture = to_srgb(picture)
    decoded = time.perf_counter()

    planes, constant = planes_of(picture)
    channels = picture.channels + (picture.alpha is not None)
    plans = plan_passes(course, engine, pixel_bytes=channels * picture.bits // 8, tile=options.tile)
    upscaled = run_passes(
        planes,
        course,
        plans,
        engine,
        dtype=picture.pixels.dtype,
        constant_alpha=constant,
        cancelled=cancelled,
        progress=progress,
    )
    layout = output_layout(course, options, channels, picture.bits, picture.metadata)
    notices, colours = picture.notices, picture.channels
    # From here on only the network's planes hold pixels: a picture with alpha would be in memory twice.
    del picture
    with closing(upscaled.bands()) as bands:
        rows: Iterator[Pixels] = equalized(bands, planes.colours, scratch) if equalizes(course, options) else bands
        encoder = open_encoder(wanted, target, layout, quality=options.quality, threads=engine.threads)
        encoding = encode(to_size(rows, course, colours), encoder)
    finished = time.perf_counter()
    return report_of(
        course,
        wanted,
        notices=notices,
        timings={
            "decode": decoded - started,
            "inference": finished - decoded - encoding,
            "encode": encoding,
        },
        provider=upscaled.provider,
        plan=upscaled.plan,
        tiles=upscaled.tiles,
    )
