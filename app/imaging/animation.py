"""Animated pictures: whole frames with their timing out of GIF, WebP and APNG, and back into such files.

Frames come out composed: what a file says about disposal and blending is carried out, so that each frame is the picture
that is seen. The writers take whole frames, one after another, and keep no more than what is already compressed.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Protocol

import numpy as np
from PIL import Image

from app.imaging.codec_errors import broken_if_fails
from app.imaging.colour import fitting_profile
from app.imaging.formats import FORMATS
from app.imaging.header import open_picture, release
from app.imaging.metadata import read_metadata
from app.imaging.picture import Layout, Metadata, Picture, PictureTooLargeError, Pixels
from app.imaging.png_writer import PngWriter, png_chunk
from app.imaging.whole_writer import WholeWriter

# Who shows a frame shorter than this shows it longer: browsers make 100 ms of it. It is kept as it is.
_GIF_TICK = 10.0
# GIF knows no half transparent pixels.
_VISIBLE = 128


@dataclass(frozen=True, slots=True)
class Animation:
    """What is known of an animated file once all its frames were looked at."""

    width: int
    height: int
    milliseconds: tuple[float, ...]
    """How long each frame is shown."""
    plays: int
    """How often it is shown, 0 for ever."""
    has_alpha: bool
    """Whether any pixel of any frame is not opaque."""
    source_format: str
    metadata: Metadata

    @property
    def frames(self) -> int:
        return len(self.milliseconds)


@contextmanager
def open_animation(
    file: BinaryIO, *, max_pixels: int | None, max_frames: int | None
) -> Iterator[tuple[Animation, Iterator[Picture]]]:
    """What is known of an animated GIF, WebP or PNG (``file`` must be seekable), and its frames, composed, in their
    order; all with alpha or all without. A still picture is an animation of one frame.

    All frames are decoded twice, once to look at them. Memory: a frame or two. ``max_pixels`` bounds one frame. Raises
    what
    ``decode`` does, and PictureTooLargeError ``too_many_frames``.
    """
    opened = open_picture(file)
    header, image = opened.header, opened.image
    assert image is not None  # noqa: S101  # only a TIFF comes without
    try:
        if max_pixels is not None and header.width * header.height > max_pixels:
            raise PictureTooLargeError(
                "too_many_pixels",
                f"The frames have {header.width} x {header.height} pixels, more than the {max_pixels:,} allowed. "
                "Send a smaller animation.",
                limit=max_pixels,
            )
        check_frames(header.frames, max_frames)
        times, has_alpha = [], False
        for frame, milliseconds in _composed(image, max_frames):
            times.append(milliseconds)
            has_alpha = has_alpha or bool((frame[:, :, 3] != 255).any())
        with broken_if_fails("its metadata"):
            found = read_metadata(image)
        known = Animation(
            width=header.width,
            height=header.height,
            milliseconds=tuple(times),
            plays=_plays(image, header.format),
            has_alpha=has_alpha,
            source_format=header.format,
            metadata=Metadata(fitting_profile(found.icc, 3), found.exif, found.xmp, found.dpi),
        )
        yield known, _pictures(image, known)
    finally:
        release(image)


def check_frames(frames: int, most: int | None) -> None:
    """Raises PictureTooLargeError ``too_many_frames``."""
    if most is not None and frames > most:
        raise PictureTooLargeError(
            "too_many_frames",
            f"The animation has {frames} frames or more, and {most} are allowed. Send a shorter one, or ask for png: "
            "that enlarges the first frame.",
            limit=most,
        )


def _pictures(image: Image.Image, known: Animation) -> Iterator[Picture]:
    for frame, _ in _composed(image, known.frames):
        colours = np.ascontiguousarray(frame[:, :, :3])
        alpha = np.ascontiguousarray(frame[:, :, 3]) if known.has_alpha else None
        yield Picture(colours, alpha, known.source_format, known.metadata)


def _composed(image: Image.Image, max_frames: int | None) -> Iterator[tuple[Pixels, float]]:
    """(RGBA of the whole canvas, milliseconds) of every frame."""
    with broken_if_fails("its frames"):
        # An APNG may have a picture for viewers that know no animation; it is no frame of it.
        first = 1 if image.info.get("default_image") else 0
        number = first
        while True:
            try:
                image.seek(number)
            except EOFError:
                break
            image.load()
            frame = np.asarray(image.convert("RGBA"))
            yield frame, max(0.0, float(image.info.get("duration") or 0))
            number += 1
            check_frames(number - first, max_frames)


def _plays(image: Image.Image, name: str) -> int:
    loop = image.info.get("loop")
    if name != "gif":
        return int(loop or 0)
    # A GIF says how often it is repeated after it was shown once, or, without saying, is shown once.
    return 1 if loop is None else int(loop) + 1 if loop else 0


class AnimationWriter(Protocol):
    """Takes the frames of an animation, each as a whole."""

    def write(self, frame: Pixels) -> None:
        """The next frame: (height, width, 3 or, with alpha, 4), uint8."""

    def finish(self) -> None:
        """Writes what is left. Raises ValueError if frames are missing. The file is not closed."""


def open_animation_writer(
    format: str,  # noqa: A002  # the word of the interface
    file: BinaryIO,
    layout: Layout,
    known: Animation,
    *,
    quality: int | None,
    threads: int,
) -> AnimationWriter:
    """For ``gif``, ``webp`` or ``apng``; ``layout`` is that of a frame. ``file`` is written from its position and needs
    no seeking. GIF gets 256 colours a frame, and no half transparent pixels.
    """
    if format == "gif":
        return _GifWriter(file, layout, known)
    if format == "apng":
        return _ApngWriter(file, layout, known, threads=threads)
    return _WebpWriter(file, layout, known, quality=quality or FORMATS["webp"].default_quality or 90)


class _Frames:
    """Counts frames, and finds what changed."""

    def __init__(self, layout: Layout, known: Animation) -> None:
        self.known = known
        self.done = 0
        self._layout = layout
        self._shown: Pixels | None = None

    def take(self, frame: Pixels) -> tuple[int, int, int, int]:
        """What has to be drawn: left, top, right, bottom. All of it, where alpha would let the frame before shine
        through.
        """
        expected = (self._layout.height, self._layout.width, self._layout.channels)
        if frame.shape != expected or frame.dtype != np.uint8:
            raise ValueError(f"expected a frame of {expected} uint8, got {frame.shape} {frame.dtype}")
        if self.done == self.known.frames:
            raise ValueError(f"more frames than the {self.known.frames} of the animation")
        self.done += 1
        box = (0, 0, self._layout.width, self._layout.height)
        if self._shown is not None and self._layout.channels == 3:
            changed = (frame != self._shown).any(axis=2)
            rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
            # At least a pixel: a frame of nothing is not known to any of the formats.
            box = (
                (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1) if len(rows) else (0, 0, 1, 1)
            )
        self._shown = frame.copy()
        return box

    def check_complete(self) -> None:
        if self.done != self.known.frames:
            raise ValueError(f"{self.done} frames of {self.known.frames} were written")


class _GifWriter:
    """Frames by Pillow, each with colours of its own; only what changed, unless anything is transparent."""

    def __init__(self, file: BinaryIO, layout: Layout, known: Animation) -> None:
        self._file = file
        self._frames = _Frames(layout, known)
        self._time = 0.0  # what was shown until now, and what of it the file says: rounding does not add up
        self._ticks = 0
        file.write(b"GIF89a" + struct.pack("<HHBBB", layout.width, layout.height, 0x70, 0, 0))
        if known.plays != 1:
            file.write(b"\x21\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<HB", min(65535, max(0, known.plays - 1)), 0))

    def write(self, frame: Pixels) -> None:
        left, top, right, bottom = self._frames.take(frame)
        self._time += self._frames.known.milliseconds[self._frames.done - 1]
        ticks = min(65535, max(0, round(self._time / _GIF_TICK) - self._ticks))
        self._ticks += ticks
        part = frame[top:bottom, left:right]
        transparent = part.shape[2] == 4
        image = Image.fromarray(np.ascontiguousarray(part[:, :, :3]))
        levels = image.quantize(
            255 if transparent else 256, Image.Quantize.MEDIANCUT, dither=Image.Dither.FLOYDSTEINBERG
        )
        if transparent:
            indices = np.asarray(levels).copy()
            indices[part[:, :, 3] < _VISIBLE] = 255
            palette = levels.getpalette("RGB") or []
            levels = Image.fromarray(indices, "P")
            levels.putpalette(palette[: 3 * 255] + [0] * (3 * 256 - len(palette[: 3 * 255])))
        # Where anything is transparent the canvas is cleared behind each frame, else the next is drawn over it.
        flags = 2 << 2 | 1 if transparent else 1 << 2
        self._file.write(b"\x21\xf9\x04" + struct.pack("<BHBB", flags, ticks, 255 if transparent else 0, 0))
        self._file.write(_gif_image(levels, left, top))

    def finish(self) -> None:
        self._frames.check_complete()
        self._file.write(b"\x3b")


def _gif_image(image: Image.Image, left: int, top: int) -> bytes:
    """An image block with a colour table of its own, taken out of the GIF that Pillow makes of a palette picture."""
    whole = io.BytesIO()
    image.save(whole, "GIF", optimize=False, interlace=False)
    data = whole.getvalue()
    flags = data[10]
    bits = flags & 7
    table = data[13 : 13 + 3 * (2 << bits)]
    at = 13 + len(table)
    while data[at] == 0x21:  # extensions, which are written by the caller
        at += 2
        while data[at]:
            at += data[at] + 1
        at += 1
    end = len(data) - 1 if data.endswith(b"\x3b") else len(data)
    descriptor = struct.pack("<BHHHHB", 0x2C, left, top, image.width, image.height, 0x80 | bits)
    return descriptor + table + data[at + 10 : end]


class _ApngWriter:
    """Frames by PngWriter, wrapped as APNG wants them."""

    def __init__(self, file: BinaryIO, layout: Layout, known: Animation, *, threads: int) -> None:
        self._file = file
        self._layout = layout
        self._threads = threads
        self._frames = _Frames(layout, known)
        self._sequence = 0

    def write(self, frame: Pixels) -> None:
        left, top, right, bottom = self._frames.take(frame)
        part = np.ascontiguousarray(frame[top:bottom, left:right])
        first = self._frames.done == 1
        encoded = io.BytesIO()
        metadata = self._layout.metadata if first else Metadata()
        writer = PngWriter(
            encoded, Layout(right - left, bottom - top, part.shape[2], 8, metadata), threads=self._threads
        )
        try:
            writer.write(part)
            writer.finish()
        finally:
            writer.close()
        known = self._frames.known
        if first:
            self._file.write(b"\x89PNG\r\n\x1a\n")
        begun = False
        for kind, body in _png_chunks(encoded.getvalue()):
            if kind == b"IDAT":
                if not begun:
                    begun = True
                    time = min(65535, max(0, round(known.milliseconds[self._frames.done - 1])))
                    # Drawn over what is there (dispose none, blend source).
                    box = struct.pack(">IIIIHHBB", right - left, bottom - top, left, top, time, 1000, 0, 0)
                    self._chunk(b"fcTL", self._numbered(box))
                if first:
                    self._chunk(kind, body)
                else:
                    self._chunk(b"fdAT", self._numbered(body))
            elif first and kind != b"IEND":
                self._chunk(kind, body)
                if kind == b"IHDR":
                    self._chunk(b"acTL", struct.pack(">II", known.frames, known.plays))

    def finish(self) -> None:
        self._frames.check_complete()
        self._chunk(b"IEND", b"")

    def _numbered(self, body: bytes) -> bytes:
        self._sequence += 1
        return struct.pack(">I", self._sequence - 1) + body

    def _chunk(self, kind: bytes, body: bytes) -> None:
        self._file.write(png_chunk(kind, body))


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        at += 12 + length


class _WebpWriter:
    """Frames by WholeWriter, put into one container; their compressed bytes wait, since the container begins with its
    size.
    """

    def __init__(self, file: BinaryIO, layout: Layout, known: Animation, *, quality: int) -> None:
        self._file = file
        self._layout = layout
        self._quality = quality
        self._frames = _Frames(layout, known)
        self._parts: list[bytes] = []
        self._metadata: dict[bytes, bytes] = {}

    def write(self, frame: Pixels) -> None:
        left, top, right, bottom = self._frames.take(frame)
        left, top = left & ~1, top & ~1  # offsets are stored halved
        part = np.ascontiguousarray(frame[top:bottom, left:right])
        encoded = io.BytesIO()
        metadata = self._layout.metadata if self._frames.done == 1 else Metadata()
        writer = WholeWriter(
            encoded,
            Layout(right - left, bottom - top, part.shape[2], 8, metadata),
            "webp",
            quality=self._quality,
        )
        writer.write(part)
        writer.finish()
        body = b""
        for kind, data in _riff_chunks(encoded.getvalue()):
            if kind in (b"VP8 ", b"VP8L", b"ALPH"):
                body += _riff_chunk(kind, data)
            elif kind in (b"ICCP", b"EXIF", b"XMP "):
                self._metadata[kind] = data
        time = min(0xFFFFFF, max(0, round(self._frames.known.milliseconds[self._frames.done - 1])))
        place = b"".join(
            number.to_bytes(3, "little") for number in (left // 2, top // 2, right - left - 1, bottom - top - 1, time)
        )
        # Not blended with what was there, which is left as it is.
        self._parts.append(_riff_chunk(b"ANMF", place + b"\x02" + body))

    def finish(self) -> None:
        self._frames.check_complete()
        layout, known, found = self._layout, self._frames.known, self._metadata
        flags = 0x02 | 0x10 * (layout.channels == 4)
        for kind, flag in ((b"ICCP", 0x20), (b"EXIF", 0x08), (b"XMP ", 0x04)):
            flags |= flag * (kind in found)
        size = (layout.width - 1).to_bytes(3, "little") + (layout.height - 1).to_bytes(3, "little")
        head = [_riff_chunk(b"VP8X", bytes([flags, 0, 0, 0]) + size)]
        if b"ICCP" in found:
            head.append(_riff_chunk(b"ICCP", found[b"ICCP"]))
        head.append(_riff_chunk(b"ANIM", struct.pack("<IH", 0, min(65535, known.plays))))
        tail = [_riff_chunk(kind, found[kind]) for kind in (b"EXIF", b"XMP ") if kind in found]
        parts = [*head, *self._parts, *tail]
        self._file.write(b"RIFF" + struct.pack("<I", 4 + sum(map(len, parts))) + b"WEBP")
        for part in parts:
            self._file.write(part)


def _riff_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 12
    while at + 8 <= len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        yield data[at : at + 4], data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2


def _riff_chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)
