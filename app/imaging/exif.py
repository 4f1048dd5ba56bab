"""Edits EXIF blocks in place, so that maker notes, which hold absolute offsets, stay readable."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

PREFIX = b"Exif\0\0"

_ORIENTATION = 0x0112
_IMAGE_WIDTH, _IMAGE_HEIGHT = 0x0100, 0x0101
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 0x011A, 0x011B, 0x0128
_PER_INCH = {2: 1.0, 3: 2.54}
_EXIF_IFD = 0x8769
_PIXEL_WIDTH, _PIXEL_HEIGHT = 0xA002, 0xA003
_STRIP_OFFSET, _STRIP_BYTES = 0x0111, 0x0117
_THUMBNAIL_OFFSET, _THUMBNAIL_BYTES = 0x0201, 0x0202
_SHORT, _LONG, _RATIONAL = 3, 4, 5


@dataclass(frozen=True, slots=True)
class _Entry:
    tag: int
    type: int
    count: int
    at: int
    """Position of the 12-byte entry in the block."""


class _Block:
    """A TIFF block in memory. Reading past its end raises ValueError or struct.error."""

    def __init__(self, exif: bytes) -> None:
        self.data = bytearray(exif)
        orders = {b"II*\0": "<", b"MM\0*": ">"}
        order = orders.get(bytes(exif[:4]))
        if order is None:
            raise ValueError("not a TIFF block")
        self.order = order

    def number(self, code: str, at: int) -> int:
        return int(struct.unpack_from(self.order + code, self.data, at)[0])

    def put(self, code: str, at: int, value: int) -> None:
        struct.pack_into(self.order + code, self.data, at, value)

    @property
    def first(self) -> int:
        """Position of IFD0."""
        return self.number("I", 4)

    def end_of_entries(self, directory: int) -> int:
        return directory + 2 + 12 * self.number("H", directory)

    def entries(self, directory: int) -> Iterator[_Entry]:
        for at in range(directory + 2, self.end_of_entries(directory), 12):
            yield _Entry(self.number("H", at), self.number("H", at + 2), self.number("I", at + 4), at)

    def integer(self, entry: _Entry) -> int | None:
        """The value of a single SHORT or LONG."""
        if entry.count != 1 or entry.type not in (_SHORT, _LONG):
            return None
        return self.number("H" if entry.type == _SHORT else "I", entry.at + 8)

    def set_integer(self, entry: _Entry, value: int) -> None:
        """Overwrites a single SHORT or LONG, as a LONG where needed: both live inside the entry."""
        if entry.count != 1 or entry.type not in (_SHORT, _LONG):
            return
        if entry.type == _SHORT and value <= 0xFFFF:
            self.put("H", entry.at + 8, value)
        else:
            self.put("H", entry.at + 2, _LONG)
            self.put("I", entry.at + 8, value)


def without_prefix(exif: bytes) -> bytes:
    """The TIFF block of an APP1 payload; a block without the prefix comes back as it is."""
    return exif[len(PREFIX) :] if exif.startswith(PREFIX) else exif


def orientation(exif: bytes | None) -> int:
    """1..8; 1 where the tag is missing, out of range or the block is malformed."""
    if not exif:
        return 1
    try:
        block = _Block(exif)
        for entry in block.entries(block.first):
            if entry.tag == _ORIENTATION:
                value = block.integer(entry)
                return value if value is not None and 1 <= value <= 8 else 1
    except (ValueError, struct.error):
        pass
    return 1


def upright(exif: bytes | None) -> bytes | None:
    """The same block with orientation 1 and without its thumbnail; None where it is malformed.

    The thumbnail's bytes are removed, not only unlinked: it may show what was cropped away from the picture.
    """
    if not exif:
        return None
    try:
        block = _Block(exif)
        for entry in block.entries(block.first):
            if entry.tag == _ORIENTATION:
                block.set_integer(entry, 1)
        link = block.end_of_entries(block.first)
        # Some writers end the block right after IFD0's entries, without the link to a next directory.
        thumbnails = block.number("I", link) if link + 4 <= len(block.data) else 0
        if thumbnails:
            _erase_thumbnail(block, thumbnails)
            block.put("I", link, 0)
    except (ValueError, struct.error):
        return None
    return bytes(block.data)


def _erase_thumbnail(block: _Block, directory: int) -> None:
    found: dict[int, int] = {}
    for entry in block.entries(directory):
        value = block.integer(entry)
        if value is not None:
            found[entry.tag] = value
    for offset_tag, bytes_tag in ((_THUMBNAIL_OFFSET, _THUMBNAIL_BYTES), (_STRIP_OFFSET, _STRIP_BYTES)):
        start, size = found.get(offset_tag, 0), found.get(bytes_tag, 0)
        # A range that reaches into IFD0 is a lie; erasing it would destroy what we keep.
        if not size or start < block.end_of_entries(block.first):
            continue
        end = min(start + size, len(block.data))
        if len(block.data) - end < 16:  # nothing but padding behind it
            del block.data[start:]
        else:
            block.data[start:end] = bytes(max(0, end - start))


def resolution(exif: bytes | None) -> tuple[float, float] | None:
    """Pixels per inch, horizontal and vertical; None where the block is malformed or gives no unit of length."""
    if not exif:
        return None
    found: dict[int, float] = {}
    unit = 2  # where the tag is missing
    try:
        block = _Block(exif)
        for entry in block.entries(block.first):
            if entry.tag == _RESOLUTION_UNIT:
                unit = block.integer(entry) or 0
            elif entry.tag in (_X_RESOLUTION, _Y_RESOLUTION) and entry.type == _RATIONAL and entry.count == 1:
                at = block.number("I", entry.at + 8)
                found[entry.tag] = block.number("I", at) / block.number("I", at + 4)
        factor = _PER_INCH[unit]
        return found[_X_RESOLUTION] * factor, found[_Y_RESOLUTION] * factor
    except (KeyError, ValueError, ZeroDivisionError, struct.error):
        return None


def of_resolution(dpi: tuple[float, float]) -> bytes:
    """A block that holds a resolution and nothing else."""
    values_at = 8 + 2 + 3 * 12 + 4
    return struct.pack(
        "<4sI H HHII HHII HHII I IIII",
        *(b"II*\0", 8, 3),
        *(_X_RESOLUTION, _RATIONAL, 1, values_at),
        *(_Y_RESOLUTION, _RATIONAL, 1, values_at + 8),
        *(_RESOLUTION_UNIT, _SHORT, 1, 2),
        0,
        *(part for value in dpi for part in (round(value * 1000), 1000)),
    )


def resized(exif: bytes | None, *, scale: float, width: int, height: int) -> bytes | None:
    """The same block for a picture enlarged ``scale`` times to ``width`` x ``height`` px; None if malformed."""
    if not exif:
        return None
    sizes = {_IMAGE_WIDTH: width, _IMAGE_HEIGHT: height, _PIXEL_WIDTH: width, _PIXEL_HEIGHT: height}
    scaled: set[int] = set()
    try:
        block = _Block(exif)
        for entry in list(block.entries(block.first)):
            if entry.tag in sizes:
                block.set_integer(entry, sizes[entry.tag])
            elif entry.tag in (_X_RESOLUTION, _Y_RESOLUTION) and entry.type == _RATIONAL and entry.count == 1:
                at = block.number("I", entry.at + 8)
                if at not in scaled:  # both resolutions may point to one value
                    _scale_rational(block, at, scale)
                    scaled.add(at)
            elif entry.tag == _EXIF_IFD:
                for inner in list(block.entries(block.integer(entry) or len(block.data))):
                    if inner.tag in sizes:
                        block.set_integer(inner, sizes[inner.tag])
    except (ValueError, struct.error):
        return None
    return bytes(block.data)


def _scale_rational(block: _Block, at: int, scale: float) -> None:
    top, bottom = block.number("I", at), block.number("I", at + 4)
    if bottom == 0:
        return
    value = top / bottom * scale
    denominator = 1 if value == int(value) else 1000
    if 0 < value * denominator < 2**32:
        block.put("I", at, round(value * denominator))
        block.put("I", at + 4, denominator)
