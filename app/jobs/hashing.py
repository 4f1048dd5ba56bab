"""The SHA-256 of a file that is being written."""

from __future__ import annotations

import hashlib
import io
from typing import Any, BinaryIO

_READ_BYTES = 1 << 20


class HashingWriter(io.BufferedIOBase, BinaryIO):
    """Writes through to ``target`` and hashes on the way; after a seek the file is read once more instead."""

    def __init__(self, target: BinaryIO) -> None:
        super().__init__()
        self._target = target
        self._digest = hashlib.sha256()
        self._sequential = True
        self.size = 0
        """Bytes written, as long as nobody seeks."""

    def write(self, data: Any) -> int:
        """As for any file."""
        if self._sequential:
            self._digest.update(data)
            self.size += memoryview(data).nbytes
        return self._target.write(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        """As for any file; from now on ``sha256`` reads it all."""
        self._sequential = False
        return self._target.seek(offset, whence)

    def tell(self) -> int:
        return self.size if self._sequential else self._target.tell()

    def read(self, size: int | None = -1) -> bytes:
        return self._target.read(-1 if size is None else size)

    def seekable(self) -> bool:
        return self._target.seekable()

    def readable(self) -> bool:
        return self._target.readable()

    def writable(self) -> bool:
        return True

    def flush(self) -> None:
        """Does nothing: ``target`` is whole once it is committed."""

    def sha256(self) -> str:
        """In hexadecimal, of everything written."""
        if not self._sequential:
            self._digest = hashlib.sha256()
            self._target.seek(0)
            while data := self._target.read(_READ_BYTES):
                self._digest.update(data)
        return self._digest.hexdigest()
