"""Who decodes: this process, or one that can be killed (app.imaging.decode_pool)."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO, Literal, Protocol

from app.imaging import bands as _bands
from app.imaging import decode as _decode
from app.imaging import header as _header
from app.imaging.bands import BAND_ROWS, SourceLayout
from app.imaging.header import Header
from app.imaging.picture import Picture


class DecodingCancelledError(Exception):
    """Whoever wanted the picture no longer does."""


class Decoder(Protocol):
    """Reads pictures. Every call blocks, and raises what the function of the same name in app.imaging does."""

    def read_header(self, file: BinaryIO) -> Header:
        """``app.imaging.header.read_header``."""

    def decode(self, file: BinaryIO, *, max_pixels: int | None, cancelled: Callable[[], bool]) -> Picture:
        """``app.imaging.decode.decode``. May raise DecodingCancelledError once ``cancelled()`` is true."""

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
        """``app.imaging.bands.write_bands``; ``sink`` is called in this process. May raise DecodingCancelledError."""

    def close(self) -> None:
        """Gives back what it holds; what it is doing is finished first or ended."""


class InProcess:
    """Decodes in the calling thread: for the command line, whose user chose the pictures."""

    def read_header(self, file: BinaryIO) -> Header:
        return _header.read_header(file)

    def decode(
        self,
        file: BinaryIO,
        *,
        max_pixels: int | None,
        cancelled: Callable[[], bool],  # noqa: ARG002 - a codec cannot be asked to stop
    ) -> Picture:
        return _decode.decode(file, max_pixels=max_pixels)

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
        def sink_or_stop(number: int, rows: bytes) -> None:
            if cancelled():
                raise DecodingCancelledError
            sink(number, rows)

        return _bands.write_bands(file, sink_or_stop, max_pixels=max_pixels, band_rows=band_rows, metadata=metadata)

    def close(self) -> None:
        """There is nothing to give back."""


IN_PROCESS = InProcess()
