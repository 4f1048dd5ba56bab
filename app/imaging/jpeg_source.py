"""What a JPEG costs its decoder, told from its markers; refuses files built to keep one busy."""

from __future__ import annotations

import re
from typing import BinaryIO

from app.imaging.picture import BrokenPictureError

# Each scan of a progressive JPEG walks over all its coefficients, and an empty scan costs 20 bytes: a small
# file of a large picture could ask for hours. Encoders write about 10, at most a few dozen.
MAX_SCANS = 100

_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_CHUNK = 1 << 20
# A marker inside entropy-coded data: not a stuffed 0xFF00, a restart (D0..D7) or fill bytes.
_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")


def check_scans(file: BinaryIO) -> None:
    """Raises BrokenPictureError ``too_many_scans`` where the first picture has more than MAX_SCANS scans."""
    file.seek(2)
    scans = 0
    while True:
        head = file.read(4)
        if len(head) < 4 or head[0] != 0xFF or head[1] == _END_OF_IMAGE:
            return  # the end, or nonsense that the decoder will judge
        if head[1] == 0xFF:  # fill byte before a marker
            file.seek(-3, 1)
            continue
        length = int.from_bytes(head[2:], "big")
        if length < 2:
            return
        file.seek(length - 2, 1)
        if head[1] == _START_OF_SCAN:
            scans += 1
            if scans > MAX_SCANS:
                raise BrokenPictureError(
                    "too_many_scans",
                    f"This JPEG has more than {MAX_SCANS} scans. Save it again as an ordinary JPEG.",
                    limit=MAX_SCANS,
                )
            if not _skip_entropy_coded(file):
                return


def held_bytes_per_pixel(file: BinaryIO) -> float:
    """What any decoder holds of the whole picture: the coefficients, 2 bytes a sample, of a progressive file; 0 of one
    that can be decoded in pieces. Keeps the file's position.
    """
    at = file.tell()
    try:
        return _held_bytes_per_pixel(file)
    finally:
        file.seek(at)


def _held_bytes_per_pixel(file: BinaryIO) -> float:
    file.seek(2)
    while True:
        head = file.read(4)
        if len(head) < 4 or head[0] != 0xFF:
            return 0
        if head[1] == 0xFF:
            file.seek(-3, 1)
            continue
        length = int.from_bytes(head[2:], "big")
        if head[1] == _START_OF_SCAN or length < 2:
            return 0
        body = file.read(length - 2)
        if head[1] in _FRAMES:
            sampling = [(each >> 4, each & 15) for each in body[7::3]]
            components = body[5] if len(body) > 5 else 0
            whole = head[1] in _PROGRESSIVE or _scan_components(file) < components
            if not whole or not sampling or 0 in (widest := [max(axis) for axis in zip(*sampling, strict=True)]):
                return 0
            return float(sum(2 * across * down for across, down in sampling) / (widest[0] * widest[1]))


def _scan_components(file: BinaryIO) -> int:
    """Components of the first scan from here on: fewer than the frame's, and the samples come plane after plane."""
    while len(head := file.read(4)) == 4 and head[0] == 0xFF:
        if head[1] == 0xFF:
            file.seek(-3, 1)
            continue
        body = file.read(max(0, int.from_bytes(head[2:], "big") - 2))
        if head[1] == _START_OF_SCAN:
            return body[0] if body else 0
    return 0


def _skip_entropy_coded(file: BinaryIO) -> bool:
    """Moves to the next marker; False at the end of the file."""
    while chunk := file.read(_CHUNK):
        found = _MARKER.search(chunk)
        if found:
            file.seek(found.start() - len(chunk), 1)
            return True
        if len(chunk) > 1 and chunk[-1] == 0xFF:  # its second byte is in the next chunk
            file.seek(-1, 1)
    return False
