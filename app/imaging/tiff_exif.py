"""EXIF blocks as TIFF directories, classic or BigTIFF."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

_EXIF_IFD, _GPS_IFD = 0x8769, 0x8825
# Texts of the main directory that say something about the picture: description, make, model, artist, copyright...
_TEXT_TAGS = (270, 271, 272, 306, 315, 316, 33432)
# What Pillow raises on blocks that only look well-formed.
_MALFORMED = (
    ArithmeticError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
)


def directories(exif: bytes | None, *, at: int, big: bool) -> tuple[bytes, dict[int, int]]:
    """(bytes to be written at offset ``at`` of a little-endian file, offset of each directory by its tag).

    Both are empty without EXIF, or where the block is malformed: a picture is worth more than its EXIF.
    """
    if exif is None:
        return b"", {}
    written, offsets = b"", {}
    try:
        block = _load(exif)
        for tag in (_EXIF_IFD, _GPS_IFD):
            entries = dict(block.get_ifd(tag))
            if entries:
                offsets[tag] = at + len(written)
                written += _directory(entries, tag, offsets[tag], big=big)
    except _MALFORMED:
        return b"", {}
    return written, offsets


def texts(exif: bytes | None) -> dict[int, str]:
    """The main directory's descriptive texts by tag."""
    if exif is None:
        return {}
    try:
        block = _load(exif)
        found = {tag: block[tag] for tag in _TEXT_TAGS if tag in block}
    except _MALFORMED:
        return {}
    # TIFF texts are 7-bit ASCII.
    return {tag: text for tag, text in found.items() if isinstance(text, str) and text and text.isascii()}


def rename_tags(file: BinaryIO, names: Mapping[int, int], *, big: bool) -> None:
    """Changes tag numbers in the first directory of a little-endian file, which must be readable and seekable.

    The new numbers must keep the order of the tags.
    """
    if not names:
        return
    number, link_at, entry_bytes = ("<Q", 8, 20) if big else ("<H", 4, 12)
    file.seek(link_at)
    first = _unpack(file, "<Q" if big else "<I")
    file.seek(first)
    for index in range(_unpack(file, number)):
        at = first + struct.calcsize(number) + entry_bytes * index
        file.seek(at)
        tag = _unpack(file, "<H")
        if tag in names:
            file.seek(at)
            file.write(struct.pack("<H", names[tag]))
    file.seek(0, 2)


def _unpack(file: BinaryIO, form: str) -> int:
    return int(struct.unpack(form, file.read(struct.calcsize(form)))[0])


def _load(exif: bytes) -> Image.Exif:
    block = Image.Exif()
    block.load(b"Exif\0\0" + exif)
    return block


def _directory(entries: dict[int, Any], tag: int, at: int, *, big: bool) -> bytes:
    header = b"II\x2b\0\x08\0\0\0" + bytes(8) if big else b"II*\0" + bytes(4)
    directory = ImageFileDirectory_v2(header, group=tag)
    for key, value in entries.items():
        directory[key] = value
    data = directory.tobytes(at)
    return data + bytes(len(data) % 2)
