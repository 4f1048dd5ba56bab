"""Objects as files of a local folder (or of one that several machines share, if its renames are atomic)."""

from __future__ import annotations

import errno
import io
import os
import secrets
import shutil
import stat as file_modes
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Literal

from app.storage.interface import MissingObjectError, Stat, StorageError, StorageWriter
from app.storage.keys import check_key, check_prefix

_PART = ".part-"
"""Begins the name of every file and folder that is no object (yet, or no longer); no key can hold it."""
_PART_SECONDS = 3600.0
"""A part that nobody has touched for so long belongs to nobody."""
_ROOM_EVERY = 8 * 1024 * 1024
"""Bytes written between two looks at the free room."""
_FULL = {errno.ENOSPC, errno.EDQUOT}


class LocalStorage:
    """A folder of objects; see ``Storage`` for what the methods promise.

    A file is written under a temporary name beside its place, flushed to the disk, renamed, and the folder is flushed
    too. Folders vanish with their last object.
    """

    def __init__(self, folder: Path, *, min_free_bytes: int = 0) -> None:
        """Makes the folder, private to this user, if it is missing. Raises StorageError.

        ``min_free_bytes`` of the disk stay free (the queue's file may lie on it, and the queue dies of a full disk):
        with less left, writing raises ``storage_full``.
        """
        self._folder = folder.absolute()
        self._min_free_bytes = min_free_bytes
        with _told("make its folder"):
            _make_folder(self._folder)

    def put(self, key: str, data: bytes | bytearray | memoryview) -> None:
        with self.writer(key) as writer:
            writer.write(data)
            writer.commit()

    def writer(self, key: str) -> StorageWriter:
        return _LocalWriter(self, check_key(key), seekable=False)

    def seekable_writer(self, key: str) -> StorageWriter:
        return _LocalWriter(self, check_key(key), seekable=True)

    def open(self, key: str) -> BinaryIO:
        path = self.path_of(key)
        with _told("read", key):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            if not file_modes.S_ISREG(os.fstat(descriptor).st_mode):
                os.close(descriptor)
                raise MissingObjectError(key)
            return os.fdopen(descriptor, "rb")

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        if start < 0 or (length is not None and length < 0):
            raise ValueError(f"a range counts from 0 up, not {start}, {length}")
        with self.open(key) as file, _told("read", key):
            file.seek(start)
            return file.read(-1 if length is None else length)

    def stat(self, key: str) -> Stat:
        with _told("read", key):
            found = self.path_of(key).stat()
            if not file_modes.S_ISREG(found.st_mode):
                raise MissingObjectError(key)
            return _stat(found)

    def exists(self, key: str) -> bool:
        try:
            self.stat(key)
        except MissingObjectError:
            return False
        return True

    def delete(self, key: str) -> None:
        path = self.path_of(key)
        with _told("delete"):
            try:
                path.unlink()
            except (FileNotFoundError, NotADirectoryError):
                return
            except (IsADirectoryError, PermissionError):  # what unlinking a folder raises on Linux and elsewhere
                if path.is_dir():
                    return
                raise
            self.leave(path.parent)

    def delete_prefix(self, prefix: str) -> int:
        folder = self.path_of(prefix)
        away = folder.parent / _part_name()
        with _told("delete"):
            if not folder.is_dir():
                return 0
            # From readers' and writers' sight at once, from the disk file by file.
            try:
                folder.rename(away)
            except FileNotFoundError:
                return 0
            number = sum(1 for _ in self._files(away))
            _remove_tree(away)
            self.leave(folder.parent)
        return number

    def list(self, prefix: str) -> Iterator[tuple[str, Stat]]:
        for path in self._files(self._folder / check_prefix(prefix)):
            with suppress(FileNotFoundError), _told("list"):
                yield path.relative_to(self._folder).as_posix(), _stat(path.stat())

    def presign(self, key: str, *, method: Literal["GET", "PUT"], seconds: int) -> str | None:  # noqa: ARG002
        check_key(key)
        return None

    def check(self) -> None:
        part = self._folder / _part_name()
        with _told("be written"):
            self.check_room()
            try:
                with part.open("xb") as file:
                    file.write(bytes(4096))
                    file.flush()
                    os.fsync(file.fileno())
            finally:
                part.unlink(missing_ok=True)

    def sweep(self) -> int:
        return self._sweep(self._folder, time.time() - _PART_SECONDS)

    def path_of(self, key: str) -> Path:
        """Where the object lies."""
        return self._folder / check_key(key)

    def check_room(self) -> None:
        """Raises StorageError unless more than the reserve is free."""
        free = shutil.disk_usage(self._folder).free
        if free <= self._min_free_bytes:
            raise StorageError(
                "storage_full",
                f"The disk of {self._folder} has {free // 1_000_000} MB left, and "
                f"{self._min_free_bytes // 1_000_000} MB are kept free: delete something or make room.",
            )

    def open_part(self, folder: Path) -> tuple[BinaryIO, Path]:
        """A new temporary file in a folder of the store, which is made if it is missing."""
        while True:
            _make_folder(folder)
            path = folder / _part_name()
            # The folder may have vanished with its last object between the two lines.
            with suppress(FileNotFoundError):
                return path.open("x+b"), path

    def leave(self, folder: Path) -> None:
        """Flushes a folder out of which something went, or removes it and its parents if they are empty now."""
        while folder != self._folder:
            try:
                folder.rmdir()
            except FileNotFoundError:
                pass
            except OSError:
                break
            folder = folder.parent
        with suppress(FileNotFoundError):
            _flush_folder(folder)

    def _children(self, folder: Path) -> Iterator[Path]:
        """What lies in a folder, except parts; nothing if there is no such folder."""
        try:
            entries = sorted(folder.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise _trouble(error, "list") from error
        yield from (entry for entry in entries if not entry.name.startswith(_PART))

    def _files(self, folder: Path) -> Iterator[Path]:
        """Every object below a folder."""
        for path in self._children(folder):
            if path.is_dir():
                yield from self._files(path)
            else:
                yield path

    def _sweep(self, folder: Path, before: float) -> int:
        number = 0
        with _told("list"):
            for path in list(folder.iterdir()) if folder.is_dir() else []:
                with suppress(FileNotFoundError):
                    is_folder = path.is_dir()
                    if not path.name.startswith(_PART):
                        number += self._sweep(path, before) if is_folder else 0
                    elif is_folder:  # what a deletion left undone: its time says nothing, and nobody wants it
                        number += sum(1 for _ in self._files(path))
                        _remove_tree(path)
                    elif path.stat().st_mtime < before:
                        path.unlink()
                        number += 1
        if number and folder != self._folder:
            self.leave(folder)
        return number


class _LocalWriter(StorageWriter):
    def __init__(self, store: LocalStorage, key: str, *, seekable: bool) -> None:
        self._store = store
        self._key = key
        self._seekable = seekable
        self._target = store.path_of(key)
        self._since_look = 0
        self._done = True  # nothing to throw away yet
        with _told("write"):
            store.check_room()
            self._file, self._part = store.open_part(self._target.parent)
        self._done = False

    def write(self, data: bytes | bytearray | memoryview, /) -> int:  # type: ignore[override]
        size = memoryview(data).nbytes
        with _told("write"):
            self._since_look += size
            if self._since_look >= _ROOM_EVERY:
                self._since_look = 0
                self._store.check_room()
            self._file.write(data)
        return size

    def commit(self) -> int:
        with _told("write"):
            self._file.flush()
            # The kernel's own clock ticks so slowly that two versions could get one time, and one etag.
            os.utime(self._file.fileno(), ns=(time.time_ns(), time.time_ns()))
            os.fsync(self._file.fileno())
            size = self._file.seek(0, os.SEEK_END)
            try:
                self._part.replace(self._target)
            except FileNotFoundError:
                raise MissingObjectError(self._key) from None
            except (IsADirectoryError, NotADirectoryError):
                raise ValueError(f"other objects lie under {self._key!r}, so it cannot be one itself") from None
            self._done = True
            self._file.close()
            _flush_folder(self._target.parent)
        return size

    def abort(self) -> None:
        if self._done:
            return
        self._done = True
        with suppress(OSError):  # what a full disk did not take is written again when closing, and may fail again
            self._file.close()
        with suppress(OSError):
            self._part.unlink(missing_ok=True)
            self._store.leave(self._target.parent)

    def flush(self) -> None:
        """Nothing is visible before ``commit``, so there is nothing to flush."""

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return self._seekable

    def seekable(self) -> bool:
        return self._seekable

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._check_seekable()
        return self._file.seek(offset, whence)

    def read(self, size: int | None = -1, /) -> bytes:
        self._check_seekable()
        with _told("read"):
            return self._file.read(-1 if size is None else size)

    def _check_seekable(self) -> None:
        if not self._seekable:
            raise io.UnsupportedOperation("this writer goes from the beginning to the end; take seekable_writer")


def _part_name() -> str:
    return _PART + secrets.token_hex(8)


def _stat(found: os.stat_result) -> Stat:
    etag = f"{found.st_mtime_ns:x}-{found.st_ino:x}-{found.st_size:x}"
    return Stat(found.st_size, etag, datetime.fromtimestamp(found.st_mtime, UTC))


def _make_folder(folder: Path) -> None:
    """Makes a folder and its parents, each known to the disk when this returns."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        _flush_folder(folder.parent)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_tree(folder: Path) -> None:
    """Removes a folder of parts; another process may be at it too."""

    def go_on(_function: object, _path: str, error: BaseException) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    shutil.rmtree(folder, onerror=lambda function, path, info: go_on(function, path, info[1]))


@contextmanager
def _told(action: str, key: str | None = None) -> Iterator[None]:
    """Turns the system's errors into ours; with a key, an absent file into MissingObjectError."""
    try:
        yield
    except MissingObjectError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        if key is not None:
            raise MissingObjectError(key) from None
        raise _trouble(error, action) from error
    except OSError as error:
        raise _trouble(error, action) from error


def _trouble(error: OSError, action: str) -> StorageError:
    if error.errno in _FULL:
        return StorageError(
            "storage_full", f"The store cannot {action}: the disk is full. Delete something or make room."
        )
    return StorageError("storage_unavailable", f"The store cannot {action}: {error.strerror or error}.")
