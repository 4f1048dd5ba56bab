"""What a decoding process and the one that owns it say to each other: JSON and bytes over a socket.

No pickles: the owner must not run what a decoder that a picture has taken over sends back.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import tempfile
from typing import Any

_HEAD = struct.Struct("<II")
_MOST_JSON = 256 * 1024 * 1024
"""Metadata may be large; what is larger than this is nonsense."""


class BrokenChannelError(Exception):
    """The other side is gone, or says what makes no sense."""


def send(channel: socket.socket, message: dict[str, Any], data: bytes = b"", files: tuple[int, ...] = ()) -> None:
    """One message with its bytes and open files. Raises OSError."""
    text = json.dumps(message).encode()
    head = _HEAD.pack(len(text), len(data))
    if files:
        socket.send_fds(channel, [head], list(files))
    else:
        channel.sendall(head)
    channel.sendall(text)
    if data:
        channel.sendall(data)


def receive(channel: socket.socket, *, most_files: int = 2) -> tuple[dict[str, Any], bytearray, list[int]]:
    """The next message with its bytes and its open files, which are the caller's to close.

    Raises BrokenChannelError, and OSError (TimeoutError where the channel has a timeout).
    """
    head, files, _, _ = socket.recv_fds(channel, _HEAD.size, most_files)
    try:
        message, data = _rest(channel, head)
    except BaseException:
        for each in files:
            os.close(each)
        raise
    return message, data, list(files)


def _rest(channel: socket.socket, head: bytes) -> tuple[dict[str, Any], bytearray]:
    if not head:
        raise BrokenChannelError("the other side is gone")
    head += bytes(_exactly(channel, _HEAD.size - len(head)))
    length, following = _HEAD.unpack(head)
    if length > _MOST_JSON or following > _MOST_JSON:
        raise BrokenChannelError("a message without bounds")
    try:
        message = json.loads(_exactly(channel, length))
    except ValueError as error:
        raise BrokenChannelError("no JSON") from error
    if not isinstance(message, dict):
        raise BrokenChannelError("no object")
    return message, _exactly(channel, following)


def _exactly(channel: socket.socket, size: int) -> bytearray:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        got = channel.recv_into(view)
        if got == 0:
            raise BrokenChannelError("the other side went away within a message")
        view = view[got:]
    return data


def shared_file(size: int) -> int:
    """A new file without a name that two processes can map, of ``size`` zero bytes; in memory where the system can."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("chetko", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    else:
        with tempfile.TemporaryFile(buffering=0) as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    return descriptor
