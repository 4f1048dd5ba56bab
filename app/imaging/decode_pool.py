"""Decodes in processes that can be killed: what a picture does to its decoder stays there.

A decoder that takes too long, too much memory, or breaks costs its picture and nothing else. Pixels come back in memory
that both processes map, so a picture costs two round trips over a socket beside its decoding.
"""

from __future__ import annotations

import fcntl
import logging
import mmap
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeVar

import numpy as np

from app.imaging import decode_messages as messages
from app.imaging import picture as _picture
from app.imaging.bands import BAND_ROWS, SourceLayout
from app.imaging.decode_process import metadata_from_json
from app.imaging.decoder import DecodingCancelledError
from app.imaging.header import Header
from app.imaging.picture import BrokenPictureError, ImagingError, Picture, PictureTooLargeError, Pixels

_POLL_SECONDS = 0.1
"""How soon a cancelled picture is noticed."""
_IN_MEMORY_BYTES = 16 * 1024 * 1024
"""What is no file of the system, as an object in a bucket, is copied: up to this into memory, beyond it to the disk."""
_ROOT = Path(__file__).parents[2]
DEATHS_OF_A_DAMAGED_PICTURE = 2
"""One alone may be a kill from outside."""
_KEPT_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV")
"""All that a decoder gets of our environment: no secret is in its memory."""

_Answer = TypeVar("_Answer")

_log = logging.getLogger("chetko.decode")


class DecoderFailedError(Exception):
    """The decoder failed by a fault of its own, not of the picture's."""


class _DecoderGoneError(Exception):
    """The decoder died of a request."""

    def __init__(self, *, was_used: bool) -> None:
        super().__init__("The decoder died.")
        self.was_used = was_used


class DecodePool:
    """Up to ``size`` decoding processes, started when they are needed and used again.

    Thread-safe; every call blocks its thread, and waits while all processes are busy.
    """

    def __init__(self, *, size: int, seconds: float, memory_mb: int) -> None:
        """``seconds``: for one picture, from the request to the answer. ``memory_mb``: MiB that a decoder may have
        beside the pixels that it hands over.
        """
        self.seconds = seconds
        self.memory_mb = memory_mb
        self._places = threading.BoundedSemaphore(size)
        self._idle: list[_Process] = []
        self._lock = threading.Lock()
        self._closed = False

    def warm(self) -> None:
        """Starts one process, so that the first picture does not wait for it."""
        with self._process() as process:
            process.wait_until_ready()

    def close(self) -> None:
        """Ends all idle processes; those that are busy end with their picture."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for process in idle:
            process.end()

    def read_header(self, file: BinaryIO) -> Header:
        """As ``app.imaging.header.read_header``."""
        answer, _, files = self._answer(file, {"do": "header"}, lambda process: process.next(self.seconds, _never))
        _close(files)
        try:
            return Header(**_of(answer)["header"])
        except (KeyError, TypeError) as error:
            raise DecoderFailedError("A decoder's answer makes no sense.") from error

    def decode(self, file: BinaryIO, *, max_pixels: int | None, cancelled: Callable[[], bool]) -> Picture:
        """As ``app.imaging.decode.decode``; raises DecodingCancelledError soon after ``cancelled()`` is true."""
        request = {"do": "decode", "max_pixels": max_pixels}
        answer, _, files = self._answer(file, request, lambda process: process.next(self.seconds, cancelled))
        try:
            told = _of(answer)
            height, width, channels = (int(each) for each in told["shape"])
            dtype = np.uint16 if told["bits"] == 16 else np.uint8
            if max_pixels is not None and height * width > max_pixels:
                raise DecoderFailedError("A decoder gave more pixels than it may.")
            return Picture(
                pixels=_mapped(files[0], (height, width, channels), dtype),
                alpha=_mapped(files[1], (height, width), dtype) if told["alpha"] else None,
                source_format=str(told["source_format"]),
                metadata=metadata_from_json(told["metadata"]),
                notices=tuple(str(each) for each in told["notices"]),
            )
        except (KeyError, IndexError, TypeError, ValueError, OSError) as error:
            raise DecoderFailedError("A decoder's answer makes no sense.") from error
        finally:
            _close(files)

    def write_bands(
        self,
        file: BinaryIO,
        sink: Callable[[int, bytes], None],
        *,
        max_pixels: int | None,
        band_rows: int = BAND_ROWS,
        metadata: Literal["keep", "strip"] = "keep",
        cancelled: Callable[[], bool],
    ) -> SourceLayout:
        """As ``app.imaging.bands.write_bands``; the time limit holds from band to band. ``sink`` may get the same
        bands again, if the decoder dies under way.
        """

        def take(process: _Process) -> dict[str, Any]:
            while True:
                answer, data, files = process.next(self.seconds, cancelled)
                _close(files)
                if "band" not in answer:
                    return answer
                sink(int(answer["band"]), bytes(data))

        request = {"do": "bands", "max_pixels": max_pixels, "band_rows": band_rows, "metadata": metadata}
        answer = self._answer(file, request, take)
        try:
            return SourceLayout.from_json(_of(answer)["layout"])
        except (KeyError, TypeError, ValueError) as error:
            raise DecoderFailedError("A decoder's answer makes no sense.") from error

    def _answer(self, file: BinaryIO, request: dict[str, Any], take: Callable[[_Process], _Answer]) -> _Answer:
        """What ``take`` makes of a process that was asked.

        A process may die of something else than its picture: it was dying already, or somebody killed it, the system
        perhaps, short of memory. So a picture is called damaged only after two processes died that had read no other.
        """
        deaths = 0
        with _descriptor(file) as descriptor:
            for used in (True, *[False] * DEATHS_OF_A_DAMAGED_PICTURE):
                try:
                    with self._process(used=used) as process:
                        process.ask({**request, "seconds": self.seconds}, descriptor)
                        return take(process)
                except _DecoderGoneError as gone:
                    deaths += not gone.was_used
                    if deaths == DEATHS_OF_A_DAMAGED_PICTURE:
                        raise BrokenPictureError(
                            "broken_picture",
                            "The picture is damaged: its decoder gave up. Open it in an editor and save it again.",
                        ) from gone
        raise AssertionError("unreachable: only one of them was used before")

    @contextmanager
    def _process(self, *, used: bool = True) -> Iterator[_Process]:
        """A process for one request, one that was ``used`` before if there is one and it may be; it is used again if
        the block ends well, and killed if not.
        """
        with self._places:
            with self._lock:
                process = self._idle.pop() if used and self._idle else None
            if process is not None and not process.alive():
                process.end()
                process = None
            process = process or _Process(self.memory_mb)
            try:
                yield process
            except BaseException:
                process.end()
                raise
            process.used = True
            with self._lock:
                if not self._closed and not process.retires:
                    self._idle.append(process)
                    return
            process.end()


class _Process:
    """One decoding process. Belongs to one thread at a time."""

    def __init__(self, memory_mb: int) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [
                    *(sys.executable, "-m", "app.imaging.decode_process"),
                    *(str(theirs.fileno()), str(memory_mb * 1024 * 1024), str(os.getpid())),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                cwd=_ROOT,
                env={name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ},
            )
        self._channel = ours
        self._memory_mb = memory_mb
        self.retires = False
        """It has said that it takes no more requests."""
        self.used = False
        """It has answered a request before this one."""

    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, request: dict[str, Any], descriptor: int) -> None:
        with suppress(OSError):  # ``next`` tells that it is gone
            messages.send(self._channel, request, files=(descriptor,))

    def next(self, seconds: float, cancelled: Callable[[], bool]) -> tuple[dict[str, Any], bytearray, list[int]]:
        """What it answers next. Raises PictureTooLargeError ``decoding_too_costly``, DecodingCancelledError, and
        _DecoderGoneError where it died; then the process is to be ended.
        """
        deadline = time.monotonic() + seconds
        while not select.select([self._channel], [], [], _POLL_SECONDS)[0]:
            if cancelled():
                raise DecodingCancelledError
            if time.monotonic() > deadline:
                raise PictureTooLargeError(
                    "decoding_too_costly",
                    f"Decoding the picture took longer than {seconds:g} seconds. Save it in a simpler way, as baseline "
                    "JPEG or PNG, or send a smaller one.",
                    limit=int(seconds),
                )
        self._channel.settimeout(max(1.0, deadline - time.monotonic()))
        try:
            answer, data, files = messages.receive(self._channel)
        except (messages.BrokenChannelError, OSError) as error:
            self._process.kill()
            _log.warning("A decoder ended with %s on a picture.", self._process.wait())
            raise _DecoderGoneError(was_used=self.used) from error
        self.retires = bool(answer.get("retires"))
        if answer.get("memory"):
            raise PictureTooLargeError(
                "decoding_too_costly",
                f"Decoding the picture takes more than {self._memory_mb} MiB of memory. Save it in a simpler way, as "
                "baseline JPEG or PNG, or send a smaller one.",
                limit=self._memory_mb,
            )
        return answer, data, files

    def wait_until_ready(self) -> None:
        """Returns when it answers."""
        descriptor = messages.shared_file(0)
        try:
            self.ask({"do": "header", "seconds": 60}, descriptor)
        finally:
            os.close(descriptor)
        _close(self.next(60, _never)[2])

    def end(self) -> None:
        """Kills it; returns when it is gone."""
        self._channel.close()
        self._process.kill()
        self._process.wait()


_ERRORS = {
    kind.__name__: kind for kind in vars(_picture).values() if isinstance(kind, type) and issubclass(kind, ImagingError)
}


def _of(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer itself, if it is one; raises what the decoder raised."""
    if "failed" in answer:
        raise DecoderFailedError(str(answer["failed"]))
    if "error" in answer:
        kind = _ERRORS.get(str(answer["error"]), BrokenPictureError)
        limit = answer["limit"]
        raise kind(str(answer["code"]), str(answer["message"]), limit=None if limit is None else int(limit))
    return answer


def _mapped(descriptor: int, shape: tuple[int, ...], dtype: type[np.unsignedinteger[Any]]) -> Pixels:
    count = int(np.prod(shape))
    size = count * np.dtype(dtype).itemsize
    if hasattr(fcntl, "F_ADD_SEALS"):
        # Else whoever took the decoder over could cut the file short under our feet.
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    if os.fstat(descriptor).st_size != size:
        raise ValueError("pixels of another size than announced")
    return np.frombuffer(mmap.mmap(descriptor, size), dtype, count).reshape(shape)


@contextmanager
def _descriptor(file: BinaryIO) -> Iterator[int]:
    """An open file of the system with the bytes of ``file``, from its beginning."""
    file.seek(0)
    rolled = getattr(file, "_rolled", True)  # asking a SpooledTemporaryFile for its number would write it to the disk
    try:
        number = file.fileno() if rolled else None
    except (OSError, AttributeError):
        number = None
    if number is not None:
        file.flush()
        yield number
        file.seek(0)
        return
    first = file.read(_IN_MEMORY_BYTES)
    if len(first) < _IN_MEMORY_BYTES:
        with os.fdopen(messages.shared_file(0), "w+b") as copy:
            copy.write(first)
            copy.seek(0)
            yield copy.fileno()
    else:
        with tempfile.TemporaryFile() as copy:
            copy.write(first)
            del first
            shutil.copyfileobj(file, copy, _IN_MEMORY_BYTES)
            copy.seek(0)
            yield copy.fileno()
    file.seek(0)


def _close(files: list[int]) -> None:
    for each in files:
        os.close(each)


def _never() -> bool:
    return False
