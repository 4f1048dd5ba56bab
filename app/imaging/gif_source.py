"""Counts a GIF's frames by walking its blocks, decoding nothing."""

from __future__ import annotations

from typing import BinaryIO

_EXTENSION, _IMAGE = 0x21, 0x2C


def count_frames(file: BinaryIO, *, limit: int) -> int:
    """Frames, counted up to ``limit``; at least 1. A file cut off in the middle counts what was there."""
    file.seek(0)
    screen = file.read(13)
    if len(screen) < 13:
        return 1
    file.seek(_table_bytes(screen[10]), 1)
    frames = 0
    while frames < limit:
        kind = file.read(1)
        if kind == bytes([_EXTENSION]):
            file.seek(1, 1)
        elif kind == bytes([_IMAGE]):
            frame = file.read(9)
            if len(frame) < 9:
                break
            frames += 1
            file.seek(_table_bytes(frame[8]) + 1, 1)
        else:
            break
        if not _skip_sub_blocks(file):
            break
    return max(frames, 1)


def _table_bytes(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _skip_sub_blocks(file: BinaryIO) -> bool:
    while size := file.read(1):
        if size == b"\0":
            return True
        file.seek(size[0], 1)
    return False
