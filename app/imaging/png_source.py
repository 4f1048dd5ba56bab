"""What Pillow does not tell about a PNG before it is decoded."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import BinaryIO

_FIRST_CHUNK = 8  # behind the signature
_DEPTH_AT = 24  # signature 8, length and name of IHDR 8, width and height 8
# A file of a million tiny chunks is not worth walking to its end for its EXIF.
_MAX_CHUNKS = 100_000
_MAX_TEXT = 1 << 24


def stored_bits(file: BinaryIO) -> int:
    """Bits per sample in the file: 1, 2, 4, 8 or 16. For a file that Pillow opened; keeps the file's position."""
    at = file.tell()
    file.seek(_DEPTH_AT)
    depth = file.read(1)
    file.seek(at)
    return depth[0]


def exif(file: BinaryIO) -> bytes | None:
    """The eXIf chunk, wherever it stands; Pillow sees those behind the pixels too late to turn the picture.

    Keeps the file's position.
    """
    return next(_chunks(file, b"eXIf"), None)


def late_xmp(file: BinaryIO) -> bytes | None:
    """The XMP packet, also from behind the pixels, where it is not seen by who has not decoded them.

    Keeps the file's position.
    """
    for block in _chunks(file, b"iTXt"):
        name, _, rest = block.partition(b"\0")
        if name != b"XML:com.adobe.xmp" or len(rest) < 2:
            continue
        text = rest[2:].split(b"\0", 2)[-1]
        if not rest[0]:
            return text or None
        try:
            return zlib.decompressobj().decompress(text, _MAX_TEXT) or None
        except zlib.error:
            continue
    return None


def _chunks(file: BinaryIO, kind: bytes) -> Iterator[bytes]:
    """The bodies of all chunks of a kind; the file's position is kept between them."""
    at = _FIRST_CHUNK
    for _ in range(_MAX_CHUNKS):
        before = file.tell()
        file.seek(at)
        head = file.read(8)
        length = int.from_bytes(head[:4], "big")
        block = file.read(min(length, _MAX_TEXT)) if head[4:] == kind else b""
        file.seek(before)
        if len(head) < 8 or head[4:] == b"IEND":
            return
        if head[4:] == kind:
            if len(block) < length:
                return
            yield block
        at += 12 + length
