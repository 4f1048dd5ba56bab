"""What every store promises; runs against a folder and, by environment, against a bucket."""

from __future__ import annotations

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from app.storage import MissingObjectError, Storage, check_key

# More than one part of a multipart upload, and no multiple of anything.
LARGE = np.random.default_rng(5).bytes(37_000_003)


def same(one: bytes, other: bytes) -> bool:
    """Whether they are equal, without the hour that a difference of 37 MB takes pytest to explain."""
    return one == other


def keys(store: Storage, prefix: str = "") -> set[str]:
    return {key for key, _ in store.list(prefix)}


def test_what_was_put_is_got(store: Storage) -> None:
    store.put("jobs/a/source", b"picture")
    assert store.get("jobs/a/source") == b"picture"
    assert store.get("jobs/a/source", 2) == b"cture"
    assert store.get("jobs/a/source", 2, 3) == b"ctu"
    assert store.get("jobs/a/source", 5, 100) == b"re"
    assert store.get("jobs/a/source", 0, 0) == b""
    assert store.get("jobs/a/source", 7) == b""
    assert store.get("jobs/a/source", 8, 5) == b""
    with store.open("jobs/a/source") as file:
        assert file.read() == b"picture"


@pytest.mark.parametrize(("start", "length"), [(-1, None), (0, -1), (-3, 3)])
def test_a_range_counts_from_zero_up(store: Storage, start: int, length: int | None) -> None:
    store.put("a", b"1234")
    with pytest.raises(ValueError, match="counts from 0 up"):
        store.get("a", start, length)


def test_an_empty_object_is_one(store: Storage) -> None:
    store.put("empty", b"")
    assert store.exists("empty")
    assert store.get("empty") == b""
    assert store.stat("empty").size == 0
    with store.open("empty") as file:
        assert file.read(10) == b""


def test_bytes_like_objects_are_taken(store: Storage) -> None:
    store.put("array", memoryview(bytearray(b"abc")))
    with store.writer("rows") as writer:
        rows = np.arange(6, dtype=np.uint16).reshape(2, 3)
        assert writer.write(rows.data) == 12
        assert writer.commit() == 12
    assert store.get("array") == b"abc"
    assert store.get("rows") == rows.tobytes()


def test_what_is_not_there_is_missing(store: Storage) -> None:
    store.put("jobs/a/source", b"x")
    for key in ("jobs/b/source", "jobs/a", "jobs", "jobs/a/source2"):
        assert not store.exists(key)
        for read in (store.get, store.stat, store.open):
            with pytest.raises(MissingObjectError, match=key) as error:
                read(key)
            assert isinstance(error.value, FileNotFoundError)
    for key in ("jobs/b/source", "jobs/a/source2"):
        store.delete(key)
    assert store.get("jobs/a/source") == b"x"


def test_put_replaces(store: Storage) -> None:
    store.put("a", b"first")
    before = store.stat("a")
    store.put("a", b"other")
    after = store.stat("a")
    assert store.get("a") == b"other"
    assert before.etag != after.etag
    assert after.size == 5
    assert abs(after.modified - datetime.now(UTC)) < timedelta(minutes=2)


def test_etag_and_size_stay_while_nothing_changes(store: Storage) -> None:
    store.put("a", b"first")
    store.put("b", b"other")
    assert store.stat("a") == store.stat("a")
    assert '"' not in store.stat("a").etag
    listed = {key: (stat.size, stat.etag) for key, stat in store.list("")}
    assert listed == {"a": (5, store.stat("a").etag), "b": (5, store.stat("b").etag)}


def test_a_writer_shows_nothing_before_its_commit(store: Storage) -> None:
    with store.writer("jobs/a/result") as writer:
        assert not writer.seekable()
        with pytest.raises(io.UnsupportedOperation):
            writer.seek(0)
        position = 0
        while position < len(LARGE):
            position += writer.write(LARGE[position : position + 1_000_001])
        assert writer.tell() == len(LARGE)
        assert not store.exists("jobs/a/result")
        assert keys(store) == set()
        assert writer.commit() == len(LARGE)
    assert same(store.get("jobs/a/result"), LARGE)
    assert store.stat("jobs/a/result").size == len(LARGE)


def test_one_large_write_is_taken(store: Storage) -> None:
    with store.writer("a") as writer:
        writer.write(LARGE)
        writer.commit()
    store.put("b", LARGE)
    assert same(store.get("a"), LARGE)
    assert same(store.get("b"), LARGE)


def test_an_empty_writer_makes_an_empty_object(store: Storage) -> None:
    with store.writer("a") as writer:
        assert writer.commit() == 0
    assert store.get("a") == b""


@pytest.mark.parametrize("size", [0, 10, len(LARGE)])
@pytest.mark.parametrize("seekable", [False, True])
def test_a_writer_without_commit_leaves_what_was_there(store: Storage, size: int, seekable: bool) -> None:
    store.put("jobs/a/result", b"old")
    make = store.seekable_writer if seekable else store.writer

    def fail_in_the_middle() -> None:
        with make("jobs/a/result") as writer:
            writer.write(LARGE[:size])
            raise RuntimeError("the encoder failed")

    with pytest.raises(RuntimeError, match="the encoder failed"):
        fail_in_the_middle()
    with make("jobs/b/result") as writer:
        writer.write(LARGE[:size])
    writer = make("jobs/b/result")
    writer.write(LARGE[:size])
    writer.close()
    assert writer.closed
    assert store.get("jobs/a/result") == b"old"
    assert keys(store) == {"jobs/a/result"}


def test_a_seekable_writer_can_be_patched(store: Storage) -> None:
    with store.seekable_writer("a.tif") as writer:
        writer.write(b"????")
        writer.write(LARGE)
        assert writer.seekable()
        writer.seek(0)
        writer.write(b"head")
        assert writer.read(3) == LARGE[:3]
        assert writer.seek(-2, io.SEEK_END) == len(LARGE) + 2
        writer.write(b"ok")
        writer.seek(1)
        assert not store.exists("a.tif")
        assert writer.commit() == len(LARGE) + 4
    assert same(store.get("a.tif"), b"head" + LARGE[:-2] + b"ok")


def test_opened_objects_seek(store: Storage) -> None:
    store.put("a", LARGE)
    with store.open("a") as file:
        assert file.seekable()
        assert file.readable()
        assert not file.writable()
        assert file.seek(-5, io.SEEK_END) == len(LARGE) - 5
        assert file.read() == LARGE[-5:]
        assert file.read() == b""
        file.seek(20_000_000)
        assert file.read(1000) == LARGE[20_000_000:20_001_000]
        file.seek(-500, io.SEEK_CUR)
        buffer = bytearray(100)
        assert file.readinto(buffer) == 100  # type: ignore[attr-defined]
        assert buffer == LARGE[20_000_500:20_000_600]
        file.seek(0)
        assert same(file.read(), LARGE)
        assert file.tell() == len(LARGE)
        file.seek(len(LARGE) + 10)
        assert file.read(3) == b""


def test_delete(store: Storage) -> None:
    store.put("jobs/a/source", b"1")
    store.put("jobs/a/result", b"2")
    store.delete("jobs/a/source")
    store.delete("jobs/a/source")
    assert keys(store) == {"jobs/a/result"}


def test_delete_prefix_ends_at_a_slash(store: Storage) -> None:
    for key in ("jobs/a/source", "jobs/a/band/0", "jobs/a/band/1", "jobs/ab/source", "jobs/b", "uploads/a"):
        store.put(key, b"x")
    assert store.delete_prefix("jobs/a") == 3
    assert store.delete_prefix("jobs/a") == 0
    assert store.delete_prefix("jobs/b") == 0
    assert keys(store) == {"jobs/ab/source", "jobs/b", "uploads/a"}
    store.put("jobs/a/source", b"again")
    assert store.get("jobs/a/source") == b"again"


def test_delete_prefix_takes_more_than_one_page(store: Storage) -> None:
    number = 1100 if type(store).__name__ == "BucketStorage" else 30  # a bucket lists and deletes 1,000 at once
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda strip: store.put(f"jobs/a/strip/{strip}", b"x"), range(number)))
    assert len(keys(store, "jobs/a")) == number
    assert store.delete_prefix("jobs/a") == number
    assert keys(store) == set()


def test_list_ends_at_a_slash(store: Storage) -> None:
    for key in ("jobs/a/source", "jobs/a/band/0", "jobs/ab", "uploads/a"):
        store.put(key, key.encode())
    assert keys(store, "jobs/a") == {"jobs/a/source", "jobs/a/band/0"}
    assert keys(store, "jobs") == {"jobs/a/source", "jobs/a/band/0", "jobs/ab"}
    assert keys(store, "nothing") == set()
    assert {stat.size for _, stat in store.list("uploads")} == {9}


def test_writers_of_one_key_do_not_mix(store: Storage) -> None:
    """Strips may be computed twice at once: one of the two whole results stays."""
    start = threading.Barrier(4)

    def write(letter: bytes) -> None:
        start.wait()
        for _ in range(5):
            with store.writer("jobs/a/strip/0") as writer:
                for _ in range(10):
                    writer.write(letter * 1000)
                writer.commit()
            assert len(set(store.get("jobs/a/strip/0"))) == 1

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, (b"a", b"b", b"c", b"d")))
    assert store.stat("jobs/a/strip/0").size == 10_000
    assert keys(store) == {"jobs/a/strip/0"}


def test_a_sound_store_passes_its_check(store: Storage) -> None:
    store.check()
    assert keys(store) == set()
    assert store.sweep() == 0


@pytest.mark.parametrize("key", ["a", "jobs/job_x-Y_9/band/0", "a.b", "-", "_", "a..b", "x" * 200, "a/" * 255 + "bc"])
def test_keys(key: str) -> None:
    assert check_key(key) == key


NO_KEYS = ["", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/.part-1", ".a", "a b", "ä", "a\n", "a\\b"]
NO_KEYS += ["a:b", "a?b", "a%2fb", "x" * 201, "a/" * 256 + "b", "a\0"]


@pytest.mark.parametrize("key", NO_KEYS)
def test_keys_that_are_none(store: Storage, key: str) -> None:
    for use in (check_key, store.get, store.open, store.writer, store.seekable_writer, store.delete, store.stat):
        with pytest.raises(ValueError, match="a key has segments"):
            use(key)
    for call in (
        lambda: store.put(key, b""),
        lambda: store.delete_prefix(key),
        lambda: store.presign(key, method="GET", seconds=1),
    ):
        with pytest.raises(ValueError, match="a key has segments"):
            call()
