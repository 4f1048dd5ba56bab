"""What a store of objects promises, whatever it is made of."""

from __future__ import annotations

import io
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import BinaryIO, Literal, Protocol, Self

Code = Literal["storage_full", "storage_unavailable"]


class StorageError(Exception):
    """The store cannot do this now. What was stored before is untouched, and nothing half-written is visible.

    ``code`` is ``storage_full`` if there is no room, else ``storage_unavailable``: the disk or the bucket answers
    with errors or not at all. ``message`` is a sentence for the operator; it may name folders and buckets.
    """

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code: Code = code
        self.message = message


class MissingObjectError(FileNotFoundError):
    """There is no object of that key, or no longer."""

    def __init__(self, key: str) -> None:
        super().__init__(f"Nothing is stored under {key!r}.")
        self.key = key


@dataclass(frozen=True, slots=True)
class Stat:
    """One stored object."""

    size: int
    """Bytes."""
    etag: str
    """Opaque, without quotes. Guaranteed to differ after an object was replaced by other bytes; replacing it by the
    same bytes may change it or not."""
    modified: datetime
    """When it became visible, in UTC."""


class StorageWriter(io.BufferedIOBase, BinaryIO):
    """A file that becomes an object by ``commit``, all of it at once, or leaves nothing.

    ``write`` takes bytes-like objects; both ``write`` and ``commit`` raise StorageError. Leaving a ``with`` block
    without a commit, and ``close``, throw away what was written. Only a writer from ``seekable_writer`` can seek and
    read.
    """

    @abstractmethod
    def commit(self) -> int:
        """Makes the object visible, replacing one of the same key, durably when this returns; gives its bytes.

        Raises MissingObjectError if the folder was removed by ``delete_prefix`` meanwhile.
        """

    @abstractmethod
    def abort(self) -> None:
        """Throws away what was written; does nothing after ``commit``, and never raises."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.abort()

    def close(self) -> None:
        """The same as ``abort``."""
        self.abort()
        super().close()


class Storage(Protocol):
    """A flat space of objects named by keys (see ``check_key``; a key that breaks its rules raises ValueError).

    Guarantees: an object is visible whole or not at all; a reader that has opened one reads it to its end or gets an
    error, never bytes of two versions; a returned ``put`` or ``commit`` survives a crash of the machine. Trouble of the
    disk or the network raises StorageError. An object that is committed while ``delete_prefix`` runs may survive it:
    whoever deletes makes sure first that nobody writes any more, or deletes again.
    A key must not be the beginning of another one at a ``/`` (``a`` and ``a/b``).
    """

    def put(self, key: str, data: bytes | bytearray | memoryview) -> None:
        """Stores ``data``, replacing what was there; atomic, and durable when it returns."""

    def writer(self, key: str) -> StorageWriter:
        """A new object, written from its beginning to its end in bounded memory."""

    def seekable_writer(self, key: str) -> StorageWriter:
        """A new object that can be written at any place and read back before it is committed.

        Lies in a local temporary file until then, so the machine needs the room.
        """

    def open(self, key: str) -> BinaryIO:
        """The object for reading, seekable, in bounded memory. Raises MissingObjectError.

        Reading on raises OSError (a folder) or StorageError (a bucket). A file of a folder can be read to its end
        after the object was deleted or replaced; a bucket then raises MissingObjectError.
        """

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """Bytes [start, start + length) of the object, fewer at its end; None reads to the end.

        Raises MissingObjectError.
        """

    def stat(self, key: str) -> Stat:
        """Raises MissingObjectError."""

    def exists(self, key: str) -> bool:
        """Whether there is an object of this very key."""

    def delete(self, key: str) -> None:
        """Removes the object; one that does not exist is fine. Works on a full disk."""

    def delete_prefix(self, prefix: str) -> int:
        """Removes every object whose key starts with ``prefix + "/"``, and gives their number. Works on a full disk.

        A ``writer`` under the prefix that is still open fails to commit in a local folder, and succeeds in a bucket.
        """

    def list(self, prefix: str) -> Iterator[tuple[str, Stat]]:
        """Key and Stat of every object whose key starts with ``prefix + "/"``, all for "", in no particular order.

        Objects that come or go meanwhile may be listed or not.
        """

    def presign(self, key: str, *, method: Literal["GET", "PUT"], seconds: int) -> str | None:
        """An address by which anybody may read or write the object for so long, without the service.

        None where there is no such thing: a local folder, a bucket without CHETKO_STORAGE_PUBLIC_URL. A PUT has no
        limit of size: check ``stat`` before a byte is used.
        """

    def check(self) -> None:
        """Raises StorageError if an object could not be written now; leaves nothing behind."""

    def sweep(self) -> int:
        """Removes what writers left that died more than an hour ago, and gives the number of files; 0 for a bucket,
        whose own lifecycle rule (AbortIncompleteMultipartUpload) does it."""
