"""What a TIFF says about its samples, read before Pillow or libvips see it.

TIFF can hold nearly anything; Pillow fails to identify or silently reduces much of it, so the tags decide.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Any, BinaryIO

from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from app.imaging import exif as exif_block
from app.imaging.codec_errors import broken_if_fails
from app.imaging.picture import BrokenPictureError, UnsupportedPictureError

_SUBFILE_TYPE = 254
_REDUCED_OR_MASK = 0b101
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_ORIENTATION, _SAMPLES, _EXTRA_SAMPLES, _SAMPLE_FORMAT = 274, 277, 338, 339
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2
_ASSOCIATED_ALPHA, _UNASSOCIATED_ALPHA = 1, 2
_PLANES, _SIDE_BY_SIDE = 284, 1
_UNCOMPRESSED = 1
_PLAIN_COMPRESSIONS = (_UNCOMPRESSED, 5, 8, 32946, 32773)  # LZW, deflate under two numbers, PackBits
# Healthy files that our builds of libtiff cannot unpack, and would call damaged.
_NOT_UNPACKED = {34712: "JPEG 2000", 34887: "LERC", 50001: "WebP", 50002: "JPEG XL"}
# 16 bits are read by libvips, whose libtiff knows less than Pillow's.
_NOT_UNPACKED_16 = _NOT_UNPACKED | {34925: "LZMA", 50000: "Zstandard"}

# What describes the picture rather than how its pixels are laid out in the file, and so belongs into EXIF.
_DESCRIPTIVE_TAGS = (270, 271, 272, 282, 283, 296, 305, 306, 315, 316, 33432)
_DESCRIPTION, _SOFTWARE = 270, 305
# Descriptions by which scientific programs (tifffile, ImageJ, OME) find out how the file's pixels are laid out.
_OF_THE_LAYOUT = re.compile(r"\s*(\{\s*\"shape\"|ImageJ=|(<\?xml[^>]*\?>\s*)?(<!--.*?-->\s*)?<OME\b)", re.DOTALL)
_EXIF_IFD, _GPS_IFD = 34665, 34853


@dataclass(frozen=True, slots=True)
class TiffPage:
    """The first page's layout."""

    width: int
    height: int
    """Both as stored, before orientation."""
    bits: int
    """8 (also for 1, 2 and 4 bits per sample) or 16."""
    colours: int
    """1 or 3 samples before the extra ones; only meaningful with ``bits`` 16 or where ``plain``."""
    alpha: bool
    """The first extra sample is alpha; libvips and Pillow give it straight even where it is stored premultiplied."""
    orientation: int
    plain: bool
    """Grey or RGB, unpacked by deflate, LZW, PackBits or not at all, samples side by side, at most one extra sample,
    and that straight alpha."""


def read_page(file: BinaryIO) -> TiffPage:
    """The first page. Raises UnsupportedPictureError ``unsupported_samples`` for what is not read here."""
    with broken_if_fails("its TIFF directory"):
        tags = _first_directory(file)
        width, height = _integer(tags, _WIDTH, 0), _integer(tags, _HEIGHT, 0)
        bits = _integers(tags, _BITS, (1,))
        formats = _integers(tags, _SAMPLE_FORMAT, (_UNSIGNED,))
        samples = _integer(tags, _SAMPLES, 1)
        compression = _integer(tags, _COMPRESSION, _UNCOMPRESSED)
        photometric = _integer(tags, _PHOTOMETRIC, _BLACK_IS_ZERO)
        extra = _integers(tags, _EXTRA_SAMPLES, ())
        orientation = _integer(tags, _ORIENTATION, 1)
        planes = _integer(tags, _PLANES, _SIDE_BY_SIDE)
    if width < 1 or height < 1:
        raise BrokenPictureError("broken_picture", "The picture is damaged: its TIFF tags give no size.")
    _check_samples(bits, formats, photometric)
    _check_compression(compression, bits[0])
    colours = 3 if photometric == _RGB else 1
    if bits[0] == 16 and samples < colours:
        raise BrokenPictureError("broken_picture", "The picture is damaged: it lacks samples per pixel.")
    return TiffPage(
        width=width,
        height=height,
        bits=16 if bits[0] == 16 else 8,
        colours=colours,
        alpha=samples > colours and bool(extra) and extra[0] in (_ASSOCIATED_ALPHA, _UNASSOCIATED_ALPHA),
        orientation=orientation if 1 <= orientation <= 8 else 1,
        plain=(
            photometric in (_BLACK_IS_ZERO, _RGB)
            and compression in _PLAIN_COMPRESSIONS
            and planes == _SIDE_BY_SIDE
            and bits[0] >= 8
            and (samples == colours or (samples == colours + 1 and extra == (_UNASSOCIATED_ALPHA,)))
        ),
    )


def _check_samples(bits: tuple[int, ...], formats: tuple[int, ...], photometric: int) -> None:
    if _FLOAT in formats:
        problem = "has floating-point samples"
    elif _SIGNED in formats or any(kind > 4 for kind in formats):
        problem = "has signed or complex samples"
    elif len(set(bits)) != 1 or bits[0] not in (1, 2, 4, 8, 16):
        problem = f"has {', '.join(map(str, bits[:4]))} bits per sample"
    elif bits[0] == 16 and photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB):
        problem = "has 16 bits per sample, but is neither grey nor RGB"
    else:
        return
    raise UnsupportedPictureError(
        "unsupported_samples",
        f"This TIFF {problem}. Save it as grey or RGB with 8 or 16 bits per sample (unsigned integers).",
    )


def _check_compression(compression: int, bits: int) -> None:
    name = (_NOT_UNPACKED_16 if bits == 16 else _NOT_UNPACKED).get(compression)
    if name is None:
        return
    with_bits = " with 16 bits per sample" if compression not in _NOT_UNPACKED else ""
    raise UnsupportedPictureError(
        "unsupported_samples",
        f"This TIFF is compressed with {name}, which is not read here{with_bits}. Save it with LZW, Deflate or no "
        "compression.",
    )


def _first_directory(file: BinaryIO) -> ImageFileDirectory_v2:
    file.seek(0)
    header = file.read(8)
    if header[:4] == b"MM\0+":
        raise UnsupportedPictureError(
            "unsupported_samples",
            "This is a big-endian BigTIFF, which is not read here. Save it as TIFF or as little-endian BigTIFF.",
        )
    if b"+" in header[2:4]:
        header += file.read(8)
    directory = ImageFileDirectory_v2(header)
    file.seek(directory.next)
    directory.load(file)
    return directory


def _integers(tags: ImageFileDirectory_v2, tag: int, default: tuple[int, ...]) -> tuple[int, ...]:
    value: Any = tags.get(tag, default)
    values = value if isinstance(value, tuple) else (value,)
    return tuple(int(one) for one in values) or default


def _integer(tags: ImageFileDirectory_v2, tag: int, default: int) -> int:
    values = _integers(tags, tag, (default,))
    return values[0]


def count_pages(file: BinaryIO, *, limit: int) -> int:
    """Pages of full size, counted up to ``limit``; thumbnails, pyramid levels and masks are not pages."""
    with broken_if_fails("its TIFF directories"):
        return _count_pages(file, limit)


def _count_pages(file: BinaryIO, limit: int) -> int:
    file.seek(0)
    header = file.read(16)
    order = "<" if header[:2] == b"II" else ">"
    big = b"+" in header[2:4]
    number, entry_bytes, link = ("Q", 20, "Q") if big else ("H", 12, "I")
    at = struct.unpack_from(order + link, header, 8 if big else 4)[0]
    pages = 0
    seen: set[int] = set()
    while at and at not in seen and len(seen) < limit and pages < limit:
        seen.add(at)
        file.seek(at)
        start = file.read(struct.calcsize(number))
        if len(start) < struct.calcsize(number):
            break
        entries = struct.unpack(order + number, start)[0]
        # A directory of a real file has a few dozen entries; the classic format cannot hold more than 65,535.
        body = file.read(min(entries, 0xFFFF) * entry_bytes + struct.calcsize(link))
        if len(body) < entries * entry_bytes + struct.calcsize(link):
            break
        pages += not _is_reduced(body, entries, entry_bytes, order)
        at = struct.unpack_from(order + link, body, entries * entry_bytes)[0]
    return max(pages, 1)


def _is_reduced(body: bytes, entries: int, entry_bytes: int, order: str) -> bool:
    for entry in range(entries):
        tag = struct.unpack_from(order + "H", body, entry * entry_bytes)[0]
        if tag == _SUBFILE_TYPE:
            value_at = entry * entry_bytes + (12 if entry_bytes == 20 else 8)
            return bool(struct.unpack_from(order + "I", body, value_at)[0] & _REDUCED_OR_MASK)
    return False


def read_exif(image: Image.Image) -> bytes | None:
    """An EXIF block of an opened TIFF's descriptive tags, EXIF and GPS directories; None where it has none."""
    source = image.getexif()
    kept = Image.Exif()
    for tag in _DESCRIPTIVE_TAGS:
        if tag in source:
            kept[tag] = source[tag]
    if _OF_THE_LAYOUT.match(str(kept.get(_DESCRIPTION, ""))):
        # It would be untrue of the enlarged picture, and these programs read that wrongly or not at all. Who wrote the
        # old file is known to them as a sign of the same.
        del kept[_DESCRIPTION]
        kept.pop(_SOFTWARE, None)
    for directory in (_EXIF_IFD, _GPS_IFD):
        entries = source.get_ifd(directory)
        if entries:
            kept[directory] = dict(entries)
    # Resolution alone is not EXIF: it already travels as dpi.
    if not set(kept) - {282, 283, 296}:
        return None
    return exif_block.upright(exif_block.without_prefix(kept.tobytes()))
