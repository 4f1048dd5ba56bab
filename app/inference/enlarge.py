"""The way of one picture: bytes in, larger picture's bytes out. HTTP, the command line and jobs all go it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from app.imaging.alpha import constant_alpha
from app.imaging.colour import to_srgb
from app.imaging.decode import decode
from app.imaging.encode import RowEncoder, open_encoder
from app.imaging.formats import FORMATS, check_holds, choose_format
from app.imaging.header import Header, read_header
from app.imaging.metadata import for_output
from app.imaging.picture import Layout, Picture, PictureTooLargeError, Pixels
from app.inference.engine import Engine
from app.inference.equalized import equalized
from app.inference.upscale import never, upscale


@dataclass(frozen=True)
class Options:
    """What a caller may choose."""

    model: str | None = None
    """A model's name; None is the default one."""
    scale: int = 4
    """A factor that the model has."""
    format: str = "same"
    """``same`` or a name in app.imaging.formats.FORMATS."""
    quality: int | None = None
    """1..100 for lossy formats; None is the format's default."""
    metadata: Literal["keep", "strip"] = "keep"
    """``strip`` drops everything beside the pixels, which are converted to sRGB first."""
    equalize_colors: bool | None = None
    """Give the output the source's colour histogram; None is what the model's manifest says."""
    tile: int | None = None
    """Edge of the kept squares in input pixels; None is what the memory setting allows."""


@dataclass(frozen=True)
class Limits:
    """What is refused before it costs anything; None is no limit."""

    max_input_pixels: int | None
    max_output_pixels: int | None


@dataclass(frozen=True)
class Report:
    """What was done."""

    model: str
    version: str
    scale: int
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
    """onnxruntime's name of the execution provider."""
    halo: int
    tile: tuple[int, int]
    """Height and width of a tile in input pixels, halo included."""
    tiles: int


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
) -> Report:
    """Reads the picture in ``source`` (seekable) and writes the enlarged one to ``target`` (for TIFF:
    seekable).

    Blocks until ``target`` holds the whole result; after an error it holds a part or nothing, and is the
    caller's to remove. Everything that can be refused is refused from the header, before pixels are decoded.
    ``cancelled`` and ``progress`` as in ``upscale``. ``scratch``: folder for a temporary file of the output's
    size in raw bytes, written only while colours are equalised (None: the system's).

    Raises the ImagingError family (PictureTooLargeError ``output_too_large`` for an output above its limit),
    the InferenceError family, and ValueError for a format or quality that does not exist.
    """
    variant = engine.registry.find(options.model, options.scale)
    started = time.perf_counter()
    source.seek(0)
    header = read_header(source)
    wanted = check_before_decoding(header, options, variant.scale, limits)
    source.seek(0)
    picture = decode(source, max_pixels=limits.max_input_pixels)
    if picture.alpha is not None and not FORMATS[wanted].holds_alpha:
        picture = _without_alpha(picture, wanted, variant.scale)
    if options.metadata == "strip":
        picture = to_srgb(picture)
    decoded = time.perf_counter()

    upscaled = upscale(picture, variant, engine, tile=options.tile, cancelled=cancelled, progress=progress)
    layout = Layout(
        upscaled.width,
        upscaled.height,
        upscaled.channels,
        picture.bits,
        for_output(
            picture.metadata,
            scale=variant.scale,
            width=upscaled.width,
            height=upscaled.height,
            keep=options.metadata == "keep",
        ),
    )
    notices = picture.notices
    # From here on only the network's planes hold pixels: a picture with alpha would be in memory twice.
    del picture
    equalize = options.equalize_colors
    if equalize is None:
        equalize = variant.manifest.equalize_colors
    with closing(upscaled.bands()) as bands:
        rows: Iterable[Pixels] = equalized(bands, upscaled.colours, scratch) if equalize else bands
        encoder = open_encoder(wanted, target, layout, quality=options.quality, threads=engine.threads)
        encoding = _encode(rows, encoder)
    finished = time.perf_counter()
    return Report(
        model=variant.manifest.name,
        version=variant.manifest.version,
        scale=variant.scale,
        format=wanted,
        media_type=FORMATS[wanted].media_type,
        extension=FORMATS[wanted].extension,
        width=upscaled.width,
        height=upscaled.height,
        source_width=upscaled.plan.width,
        source_height=upscaled.plan.height,
        notices=notices,
        timings={
            "decode": decoded - started,
            "inference": finished - decoded - encoding,
            "encode": encoding,
        },
        provider=upscaled.provider,
        halo=upscaled.plan.halo,
        tile=upscaled.plan.shape,
        tiles=upscaled.tiles,
    )


def check_before_decoding(header: Header, options: Options, scale: int, limits: Limits) -> str:
    """The output format. Raises PictureTooLargeError or FormatCannotHoldError. The input's own limit is checked by
    ``decode``."""
    wanted = choose_format(options.format, header.format)
    if options.format == "same" and header.has_alpha and not FORMATS[wanted].holds_alpha:
        wanted = "png"  # HEIC with transparency: its caller never chose JPEG
    width, height = header.width * scale, header.height * scale
    if limits.max_input_pixels is None or header.width * header.height <= limits.max_input_pixels:
        most = limits.max_output_pixels
        if most is not None and width * height > most:
            raise PictureTooLargeError(
                "output_too_large",
                f"{scale} times larger, the picture has {width} x {height} = {width * height:,} pixels, more than "
                f"the {most:,} allowed. Choose a smaller scale or a smaller picture.",
                limit=most,
            )
        # Whether alpha can be left out is not known before the pixels are: see _without_alpha.
        channels = 4 if header.has_alpha and FORMATS[wanted].holds_alpha else 3
        check_holds(wanted, Layout(width, height, channels, header.bits))
    return wanted


def _without_alpha(picture: Picture, wanted: str, scale: int) -> Picture:
    """The picture without an alpha channel that is opaque everywhere, as in most screenshots.

    Raises FormatCannotHoldError where something is transparent: what to put there is the caller's to say.
    """
    assert picture.alpha is not None  # noqa: S101  # asked by the only caller
    if constant_alpha(picture.alpha) != np.iinfo(picture.alpha.dtype).max:
        check_holds(wanted, Layout(picture.width * scale, picture.height * scale, picture.channels + 1, picture.bits))
    return replace(picture, alpha=None)


def _encode(rows: Iterable[Pixels], encoder: RowEncoder) -> float:
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
