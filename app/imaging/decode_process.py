"""A process that decodes pictures for another one, and can be killed: ``python -m app.imaging.decode_process FD``.

It gets bounds on its memory, open files and processor time, and none of its owner's environment. It ends when its
owner does.
"""

from __future__ import annotations

import base64
import ctypes
import itertools
import mmap
import os
import resource
import signal
import socket
import sys
from dataclasses import asdict
from typing import Any, BinaryIO

import numpy as np

from app.imaging import decode_messages as messages
from app.imaging.bands import write_bands
from app.imaging.decode import open_rows, upright_picture
from app.imaging.header import read_header
from app.imaging.picture import ImagingError, Metadata, Pixels

_PR_SET_PDEATHSIG = 1
RETIRE_PIXELS = 16_000_000
"""After a picture larger than this the process makes room for a fresh one, so that its heap does not stay large."""
RETIRE_REQUESTS = 2000
"""After so many requests, too: what codecs leak on damaged pictures goes with the process."""


class _SharedArrays:
    """Arrays in files that the owner maps too: pixels are never copied between the processes."""

    def __init__(self) -> None:
        self.files: list[int] = []

    def empty(self, shape: tuple[int, ...], dtype: type[np.unsignedinteger[Any]]) -> Pixels:
        count = int(np.prod(shape))
        size = count * np.dtype(dtype).itemsize
        self.files.append(messages.shared_file(size))
        return np.frombuffer(mmap.mmap(self.files[-1], size), dtype, count).reshape(shape)

    def close(self) -> None:
        for each in self.files:
            os.close(each)
        self.files.clear()


def main(channel: socket.socket) -> None:
    """Answers requests until the owner is gone, or this process retires."""
    for number in itertools.count(1):
        try:
            request, _, files = messages.receive(channel)
        except (messages.BrokenChannelError, OSError):
            return
        with os.fdopen(files[0], "rb") as file:
            if _answer(channel, request, file, tired=number >= RETIRE_REQUESTS):
                return


def _answer(channel: socket.socket, request: dict[str, Any], file: BinaryIO, *, tired: bool) -> bool:
    """Does one request; gives whether this process retires, which the answer says too."""
    # Soft only: counted from now, and the next request gets as much again.
    used = resource.getrusage(resource.RUSAGE_SELF)
    resource.setrlimit(
        resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime + request["seconds"]) + 1, resource.RLIM_INFINITY)
    )
    arrays = _SharedArrays()
    pixels = 0
    try:
        if request["do"] == "header":
            file.seek(0)
            answer: dict[str, Any] = {"header": asdict(read_header(file))}
        elif request["do"] == "decode":
            file.seek(0)
            with open_rows(file, max_pixels=request["max_pixels"]) as rows:
                picture = upright_picture(rows, empty=arrays.empty)
            pixels = picture.width * picture.height
            answer = {
                "shape": picture.pixels.shape,
                "bits": picture.bits,
                "alpha": picture.alpha is not None,
                "source_format": picture.source_format,
                "notices": picture.notices,
                "metadata": metadata_to_json(picture.metadata),
            }
        else:
            file.seek(0)
            layout = write_bands(
                file,
                lambda number, rows: messages.send(channel, {"band": number}, rows),
                max_pixels=request["max_pixels"],
                band_rows=request["band_rows"],
                metadata=request["metadata"],
            )
            pixels = layout.width * layout.height
            answer = {"layout": layout.to_json()}
    except ImagingError as error:
        memory = isinstance(error.__cause__, MemoryError)
        answer = {"error": type(error).__name__, "code": error.code, "message": error.message, "limit": error.limit}
        answer = {"memory": True} if memory else answer
    except MemoryError:
        answer = {"memory": True}
    except Exception as error:  # what nobody foresaw is the owner's to tell
        answer = {"failed": repr(error)[:2000]}
    retires = tired or pixels > RETIRE_PIXELS
    try:
        messages.send(channel, {**answer, "retires": retires}, files=tuple(arrays.files))
    finally:
        arrays.close()
    return retires


def metadata_to_json(found: Metadata) -> dict[str, Any]:
    """Of JSON's own types."""

    def text(value: bytes | None) -> str | None:
        return None if value is None else base64.b64encode(value).decode("ascii")

    return {"icc": text(found.icc), "exif": text(found.exif), "xmp": text(found.xmp), "dpi": found.dpi}


def metadata_from_json(told: dict[str, Any]) -> Metadata:
    """Back again; raises ValueError, TypeError or KeyError for what is no such thing."""

    def data(value: str | None) -> bytes | None:
        return None if value is None else base64.b64decode(value)

    dpi = told["dpi"]
    return Metadata(
        icc=data(told["icc"]),
        exif=data(told["exif"]),
        xmp=data(told["xmp"]),
        dpi=None if dpi is None else (float(dpi[0]), float(dpi[1])),
    )


def _restrain(memory_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    # The heap and private mappings; the arrays that are shared with the owner are bounded by max_pixels.
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the owner's affair, and ends this one with it
    _restrain(int(sys.argv[2]))
    if os.getppid() == int(sys.argv[3]):  # else the owner went before it could be watched
        main(socket.socket(fileno=int(sys.argv[1])))
