"""What Pillow does not tell about a PNG before it is decoded."""

from __future__ import annotations

from typing import BinaryIO

_FIRST_CHUNK = 8  # behind the signature
_DEPTH_AT = 24  # signature 8, length and name of IHDR 8, width and height 8
# A file of a million tiny chunks is not worth walking to its end for its EXIF.
_MAX_CHUNKS = 100_000
_MAX_EXIF = 1 << 24


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
    at = file.tell()
    try:
        return _find_exif(file)
    finally:
        file.seek(at)


def _find_exif(file: BinaryIO) -> bytes | None:
    file.seek(_FIRST_CHUNK)
    for _ in range(_MAX_CHUNKS):
        head = file.read(8)
        if len(head) < 8 or head[4:] == b"IEND":
            return None
        length = int.from_bytes(head[:4], "big")
        if head[4:] == b"eXIf":
            block = file.read(min(length, _MAX_EXIF))
            return block if len(block) == length else None
        file.seek(length + 4, 1)
    return None
