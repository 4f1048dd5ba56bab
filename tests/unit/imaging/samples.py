"""Small picture files, made here so that every byte of them is known."""

from __future__ import annotations

import functools
import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pillow_heif
import tifffile
from PIL import Image, ImageCms

from app.imaging.encode import open_encoder
from app.imaging.picture import Layout, Metadata

ORIENTATION = 0x0112


def scene(height: int = 40, width: int = 56, channels: int = 3, *, bits: int = 8, seed: int = 0) -> np.ndarray:
    """Smooth colour with some noise, no symmetry: (height, width, channels)."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    planes = [40 + 150 * y / height, 60 + 150 * x / width, 220 - 130 * (y + x) / (height + width), 90 + 3 * y]
    picture = np.stack(planes[:channels], axis=2) + generator.normal(0, 6, (height, width, channels))
    levels = (1 << bits) - 1
    return np.clip(picture / 255 * levels, 0, levels).astype(np.uint16 if bits == 16 else np.uint8)


def saved(image: Image.Image | np.ndarray, format: str, **options: Any) -> bytes:  # noqa: A002
    """What Pillow makes of an image."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image[:, :, 0] if image.ndim == 3 and image.shape[2] == 1 else image)
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def encoded(
    format: str,  # noqa: A002
    rows: np.ndarray,
    *,
    sizes: tuple[int, ...] = (10**9,),
    threads: int = 1,
    quality: int | None = None,
    metadata: Metadata | None = None,
) -> bytes:
    """What our encoder makes of rows that come in groups of ``sizes``, repeated."""
    file = io.BytesIO()
    height, width, channels = rows.shape
    layout = Layout(width, height, channels, rows.dtype.itemsize * 8, metadata or Metadata())
    encoder = open_encoder(format, file, layout, quality=quality, threads=threads)
    at, turn = 0, 0
    while at < height:
        encoder.write(rows[at : at + sizes[turn % len(sizes)]])
        at += sizes[turn % len(sizes)]
        turn += 1
    encoder.finish()
    encoder.close()
    return file.getvalue()


def png(width: int, height: int, depth: int, colour_type: int, rows: bytes, **chunks: bytes) -> bytes:
    """A PNG from raw rows (each with its filter byte); ``chunks`` go before the pixels."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    parts = [chunk(b"IHDR", header), *(chunk(name.encode(), data) for name, data in chunks.items())]
    return b"\x89PNG\r\n\x1a\n" + b"".join([*parts, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")])


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@functools.cache  # it carries the time of its making
def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def swapped_profile() -> bytes:
    """sRGB with the red and the blue primary exchanged: unmistakable when it is applied."""
    profile = bytearray(srgb_profile())
    count = struct.unpack_from(">I", profile, 128)[0]
    at = {bytes(profile[132 + 12 * i : 136 + 12 * i]): 132 + 12 * i for i in range(count)}
    red, blue = at[b"rXYZ"] + 4, at[b"bXYZ"] + 4
    profile[red : red + 8], profile[blue : blue + 8] = profile[blue : blue + 8], profile[red : red + 8]
    return bytes(profile)


def profile_of_space(space: bytes) -> bytes:
    """A header that claims ``space``; enough for whoever looks at the header only."""
    profile = bytearray(srgb_profile())
    profile[16:20] = space
    return bytes(profile)


def exif_with(orientation: int, *, thumbnail: bytes = b"") -> bytes:
    """A little-endian EXIF block (no prefix): make, orientation, 72 dpi, EXIF directory with sizes, maker note."""
    note = b"note:" + bytes(range(32))
    main_entries, exif_entries = 6, 3
    main_at = 8
    exif_at = main_at + 2 + 12 * main_entries + 4
    values_at = exif_at + 2 + 12 * exif_entries + 4
    make, dpi_at, note_at = b"Chetko\0\0", values_at + 8, values_at + 16
    second_at = note_at + len(note) + 1
    image_at = second_at + 2 + 12 * 2 + 4

    def entry(tag: int, kind: int, count: int, value: int) -> bytes:
        return struct.pack("<HHII", tag, kind, count, value)

    main = struct.pack("<H", main_entries) + b"".join(
        [
            entry(0x010F, 2, 7, values_at),
            entry(ORIENTATION, 3, 1, orientation),
            entry(0x011A, 5, 1, dpi_at),
            entry(0x011B, 5, 1, dpi_at),
            entry(0x0128, 3, 1, 2),
            entry(0x8769, 4, 1, exif_at),
        ]
    )
    main += struct.pack("<I", second_at if thumbnail else 0)
    inner = struct.pack("<H", exif_entries) + b"".join(
        [
            entry(0x927C, 7, len(note), note_at),
            entry(0xA002, 3, 1, 56),
            entry(0xA003, 3, 1, 40),
        ]
    )
    block = b"II*\0" + struct.pack("<I", main_at) + main + inner + bytes(4)
    block += make + struct.pack("<II", 72, 1) + note + b"\0"
    if thumbnail:
        entries = entry(0x0201, 4, 1, image_at) + entry(0x0202, 4, 1, len(thumbnail))
        block += struct.pack("<H", 2) + entries + bytes(4) + thumbnail
    return block


XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="%d" tiff:ImageWidth="56" '
    b'exif:PixelYDimension="40" tiff:XResolution="72/1"><dc:title>Snow</dc:title></rdf:Description></x:xmpmeta>'
)


def cmyk(height: int = 40, width: int = 56) -> Image.Image:
    return Image.fromarray(scene(height, width, 3)).convert("CMYK")


def tiff(pixels: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, metadata=None, **options)
    return file.getvalue()


def heic(pixels: np.ndarray, *, orientation: int = 1) -> bytes:
    pillow_heif.register_heif_opener()
    image = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image.info["exif"] = exif.tobytes()
    return saved(image, "HEIF", quality=95)


def animation(format: str) -> bytes:  # noqa: A002
    frames = [Image.fromarray(scene(seed=seed)) for seed in range(3)]
    return saved(frames[0], format, save_all=True, append_images=frames[1:], duration=50)


# One small file of every kind that is read; the fuzz test cuts and bends them.
SEEDS: dict[str, Callable[[], bytes]] = {
    "png": lambda: saved(scene(), "PNG"),
    "png-palette": lambda: saved(Image.fromarray(scene()).quantize(16), "PNG", transparency=3),
    "png-16-rgba": lambda: encoded("png", scene(channels=4, bits=16)),
    "png-16-grey": lambda: encoded("png", scene(channels=1, bits=16)),
    "png-metadata": lambda: encoded("png", scene(), metadata=Metadata(srgb_profile(), exif_with(6), XMP % 6, (72, 72))),
    "apng": lambda: animation("PNG"),
    "jpeg": lambda: saved(scene(), "JPEG", exif=b"Exif\0\0" + exif_with(6, thumbnail=b"\xff\xd8thumb\xff\xd9")),
    "jpeg-progressive": lambda: saved(scene(), "JPEG", progressive=True),
    "jpeg-cmyk": lambda: saved(cmyk(), "JPEG", icc_profile=profile_of_space(b"CMYK")),
    "mpo": lambda: animation("MPO"),
    "webp": lambda: saved(scene(channels=4), "WEBP", exif=exif_with(6), icc_profile=srgb_profile()),
    "webp-animated": lambda: animation("WEBP"),
    "avif": lambda: saved(scene(), "AVIF", exif=exif_with(6)),
    "tiff": lambda: tiff(scene(), photometric="rgb", compression="zlib"),
    "tiff-16": lambda: tiff(scene(bits=16), photometric="rgb", tile=(16, 16)),
    "tiff-big": lambda: tiff(scene(), photometric="rgb", bigtiff=True),
    "tiff-lzw": lambda: saved(scene(), "TIFF", compression="tiff_lzw", exif=Image.Exif()),
    "bmp": lambda: saved(scene(), "BMP"),
    "gif": lambda: animation("GIF"),
    "heic": lambda: heic(scene(), orientation=6),
}
