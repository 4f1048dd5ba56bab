"""Objects in a bucket of S3 or of a server that speaks its protocol, through obstore.

obstore (the Rust crate object_store behind Python) instead of boto3: retries, multipart uploads and credential chains
in one library that lets go of the interpreter's lock, against botocore, which spends its time in Python.
"""

from __future__ import annotations

import io
import os
import queue
import re
import secrets
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, BinaryIO, Literal, cast

import obstore
from obstore.exceptions import BaseError, PreconditionError
from obstore.store import S3Store

from app.storage.interface import MissingObjectError, Stat, StorageError, StorageWriter
from app.storage.keys import check_key, check_prefix
from app.storage.signed_range import SECONDS, get_signed_range

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ClientConfig, RetryConfig, S3Config

_PART_BYTES = 16 * 1024 * 1024
"""Size of one part of an upload. S3 takes 10,000 of them: objects end at 160 GB."""
_PARTS_AT_ONCE = 2
_READ_BYTES = 4 * 1024 * 1024
"""Bytes that an opened object asks for at once; a request costs 10 to 100 ms, whatever it asks for."""
_FULL = re.compile(
    r"status code: 507\b|<Code>\w*(StorageFull|QuotaExceeded|InsufficientStorage|InsufficientCapacity)\w*</Code>"
    r"|no space left on device",
    re.IGNORECASE,
)
_NO_206 = "non-partial response"
"""In obstore's sentence about a range that was answered with 200."""
_CLIENT: ClientConfig = {"allow_http": True, "connect_timeout": timedelta(seconds=5), "timeout": timedelta(seconds=60)}
# A blip is bridged; an outage is told while the caller still waits.
_RETRY: RetryConfig = {"max_retries": 4, "retry_timeout": timedelta(seconds=30)}


class BucketStorage:
    """Everything below one prefix of a bucket; see ``Storage`` for what the methods promise.

    Objects and parts of unfinished uploads that outlive the service are the business of the bucket's lifecycle rules.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str,
        *,
        endpoint: str | None = None,
        public_url: str | None = None,
        region: str | None = None,
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
    ) -> None:
        """Asks the server nothing yet. What is None is taken from ``AWS_*`` variables and the machine's role.

        ``public_url`` is the address by which callers of the service reach the same server: signed links carry it.
        """
        config: S3Config = {}
        if region is not None:
            config["region"] = region
        if access_key_id is not None:
            config["access_key_id"] = access_key_id
        if secret_access_key is not None:
            config["secret_access_key"] = secret_access_key

        def connect(address: str | None) -> S3Store:
            # The name that takes precedence over AWS_ENDPOINT_URL_S3, should that be set too.
            here: S3Config = config if address is None else {**config, "aws_endpoint_url_s3": address}
            return S3Store(bucket, prefix=prefix or None, config=here, client_options=_CLIENT, retry_config=_RETRY)

        self._store = connect(endpoint)
        self._ranges_by_links = False
        """Set once the server has answered a range with another status than 206."""
        self._public = None if public_url is None else connect(public_url)

    def put(self, key: str, data: bytes | bytearray | memoryview) -> None:
        self.upload(check_key(key), memoryview(data).cast("B"))

    def writer(self, key: str) -> StorageWriter:
        return _StreamWriter(self, check_key(key))

    def seekable_writer(self, key: str) -> StorageWriter:
        return _FileWriter(self, check_key(key))

    def open(self, key: str) -> BinaryIO:
        return io.BufferedReader(_Reader(self, key, self.stat(key)), _READ_BYTES)

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        if start < 0 or (length is not None and length < 0):
            raise ValueError(f"a range counts from 0 up, not {start}, {length}")
        check_key(key)
        if start == 0 and length is None:
            with _told("read", key):
                return bytes(obstore.get(self._store, key).bytes())
        # A range that ends behind the object or begins there is an error of many kinds: the size is asked first.
        found = self.stat(key)
        stop = found.size if length is None else min(start + length, found.size)
        return self.get_part(key, start, stop, found.etag)

    def stat(self, key: str) -> Stat:
        check_key(key)
        with _told("read", key):
            return _stat(obstore.head(self._store, key))

    def exists(self, key: str) -> bool:
        try:
            self.stat(key)
        except MissingObjectError:
            return False
        return True

    def delete(self, key: str) -> None:
        check_key(key)
        with _told("delete"):
            obstore.delete(self._store, key)

    def delete_prefix(self, prefix: str) -> int:
        number = 0
        with _told("delete"):
            for page in obstore.list(self._store, prefix=check_key(prefix), chunk_size=1000):
                keys = [meta["path"] for meta in page if meta["path"].startswith(prefix + "/")]
                obstore.delete(self._store, keys)
                number += len(keys)
        return number

    def list(self, prefix: str) -> Iterator[tuple[str, Stat]]:
        with _told("list"):
            for page in obstore.list(self._store, prefix=check_prefix(prefix) or None, chunk_size=1000):
                for meta in page:
                    if not prefix or meta["path"].startswith(prefix + "/"):
                        yield meta["path"], _stat(meta)

    def presign(self, key: str, *, method: Literal["GET", "PUT"], seconds: int) -> str | None:
        check_key(key)
        if self._public is None:
            return None
        with _told("sign links"):
            return obstore.sign(self._public, method, key, timedelta(seconds=seconds))

    def check(self) -> None:
        key = f"check-{secrets.token_hex(8)}"
        self.upload(key, b"")
        self.delete(key)

    def sweep(self) -> int:
        return 0

    def upload(self, key: str, data: memoryview | bytes | BinaryIO | Iterable[bytes]) -> None:
        """Stores what ``data`` gives, in parts if it is large; whatever is raised meanwhile leaves nothing."""
        with _told("write"):
            obstore.put(self._store, key, data, chunk_size=_PART_BYTES, max_concurrency=_PARTS_AT_ONCE)

    def get_part(self, key: str, start: int, stop: int, etag: str) -> bytes:
        """Bytes [start, stop) of the version with this etag; none if stop <= start. stop is within the object.

        Raises MissingObjectError if there is another version by now.
        """
        if stop <= start:
            return b""
        with _told("read", key):
            if self._ranges_by_links:
                return self._get_signed_part(key, start, stop, etag)
            try:
                found = obstore.get(self._store, key, options={"if_match": f'"{etag}"', "range": (start, stop)})
            except PreconditionError:
                raise MissingObjectError(key) from None
            except BaseError as error:
                if _NO_206 not in str(error):
                    raise
                self._ranges_by_links = True
                return self._get_signed_part(key, start, stop, etag)
            if _stat(found.meta).etag != etag:  # a server that does not know If-Match
                raise MissingObjectError(key)
            return bytes(found.bytes())

    def _get_signed_part(self, key: str, start: int, stop: int, etag: str) -> bytes:
        link = obstore.sign(self._store, "GET", key, timedelta(seconds=2 * SECONDS))
        data = get_signed_range(link, start, stop, etag)
        if data is None:
            raise MissingObjectError(key)
        return data


class _Reader(io.RawIOBase):
    """The unbuffered side of an opened object."""

    def __init__(self, store: BucketStorage, key: str, found: Stat) -> None:
        self._store = store
        self._key = key
        self._found = found
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._found.size}[whence]
        if at < 0:
            raise ValueError(f"a file has no position {at}")
        self._at = at
        return at

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        data = self._read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        return self._read(self._found.size)

    def _read(self, size: int) -> bytes:
        stop = min(self._at + size, self._found.size)
        data = self._store.get_part(self._key, self._at, stop, self._found.etag)
        self._at += len(data)
        return data


class _BucketWriter(StorageWriter):
    """What both writers have in common."""

    def __init__(self, store: BucketStorage, key: str) -> None:
        self._store = store
        self._key = key

    def flush(self) -> None:
        """Nothing is visible before ``commit``, so there is nothing to flush."""

    def writable(self) -> bool:
        return True


class _FileWriter(_BucketWriter):
    """Keeps everything in a temporary file without a name, and uploads it in the end."""

    def __init__(self, store: BucketStorage, key: str) -> None:
        super().__init__(store, key)
        with _told("make its temporary file"):
            self._file = cast("BinaryIO", tempfile.TemporaryFile(prefix="chetko-"))  # noqa: SIM115 - ends with the writer

    def write(self, data: bytes | bytearray | memoryview, /) -> int:  # type: ignore[override]
        with _told("write its temporary file"):
            self._file.write(data)
        return memoryview(data).nbytes

    def read(self, size: int | None = -1, /) -> bytes:
        with _told("read its temporary file"):
            return self._file.read(-1 if size is None else size)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def commit(self) -> int:
        with _told("write its temporary file"):
            self._file.flush()
        size = self._file.seek(0, os.SEEK_END)
        self._file.seek(0)
        self._store.upload(self._key, self._file)
        self._file.close()
        return size

    def abort(self) -> None:
        self._file.close()


class _Aborted(Exception):  # noqa: N818 - it is no error
    """Makes an upload that runs end without an object."""


class _StreamWriter(_BucketWriter):
    """Uploads while it is written, from a thread; at most four parts are in memory.

    What fits one part is uploaded at once by ``commit``: no thread, no multipart upload.
    """

    def __init__(self, store: BucketStorage, key: str) -> None:
        super().__init__(store, key)
        self._buffer = bytearray()
        self._size = 0
        self._upload: _Upload | None = None
        self._done = False

    def write(self, data: bytes | bytearray | memoryview, /) -> int:  # type: ignore[override]
        if self._done:
            raise ValueError("write to a finished writer")
        rest = memoryview(data).cast("B")
        written = len(rest)
        while rest:
            if len(self._buffer) == _PART_BYTES:
                self._send()
            room = _PART_BYTES - len(self._buffer)
            self._buffer += rest[:room]
            rest = rest[room:]
        self._size += written
        return written

    def tell(self) -> int:
        return self._size

    def commit(self) -> int:
        if self._done:
            raise ValueError("a writer is committed once")
        if self._upload is None:
            self._store.upload(self._key, bytes(self._buffer))
        else:
            self._send()
            self._upload.finish()
        self._done = True
        return self._size

    def abort(self) -> None:
        if self._done:
            return
        self._done = True
        if self._upload is not None:
            self._upload.abort()

    def _send(self) -> None:
        if self._upload is None:
            self._upload = _Upload(self._store, self._key)
        self._upload.send(bytes(self._buffer))
        self._buffer.clear()


class _Upload:
    """A thread that uploads the parts it is handed."""

    def __init__(self, store: BucketStorage, key: str) -> None:
        self._parts: queue.Queue[bytes | _Aborted | None] = queue.Queue(1)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(store, key), name=f"upload {key}", daemon=True)
        self._thread.start()

    def send(self, part: bytes | _Aborted | None) -> None:
        """Waits until the part is taken. Raises what made the upload end."""
        while self._thread.is_alive():
            try:
                self._parts.put(part, timeout=0.2)
            except queue.Full:
                continue
            return
        raise self._error or StorageError("storage_unavailable", "The upload has ended before its object did.")

    def finish(self) -> None:
        """Waits for the end of the upload. Raises StorageError if it failed."""
        self.send(None)
        self._thread.join()
        if self._error is not None:
            raise self._error

    def abort(self) -> None:
        """Ends the upload and waits until the server was told; never raises."""
        try:
            self.send(_Aborted())
        except BaseException as error:
            if not isinstance(error, Exception):
                raise
        self._thread.join()

    def _run(self, store: BucketStorage, key: str) -> None:
        try:
            store.upload(key, self._taken())
        except BaseException as error:
            self._error = error

    def _taken(self) -> Iterator[bytes]:
        while (part := self._parts.get()) is not None:
            if isinstance(part, _Aborted):
                raise part
            yield part


def _stat(meta: ObjectMeta) -> Stat:
    # Servers tell the time in HEAD by the second and in lists more finely, and quote an etag here and not there.
    return Stat(
        meta["size"], (meta["e_tag"] or "").strip('"'), meta["last_modified"].astimezone(UTC).replace(microsecond=0)
    )


@contextmanager
def _told(action: str, key: str | None = None) -> Iterator[None]:
    """Turns obstore's and the system's errors into ours; with a key, an absent object into MissingObjectError."""
    try:
        yield
    except MissingObjectError:
        raise
    except (BaseError, OSError) as error:
        sentence = " ".join(str(error).split("\n\nDebug source")[0].split())
        if key is not None and isinstance(error, FileNotFoundError) and "NoSuchBucket" not in sentence:
            raise MissingObjectError(key) from None
        if _FULL.search(sentence):
            raise StorageError(
                "storage_full", f"The bucket cannot {action}, for it is full: {sentence[:400]}"
            ) from error
        raise StorageError("storage_unavailable", f"The bucket cannot {action}: {sentence[:400]}") from error
