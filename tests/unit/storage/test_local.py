"""What only a folder promises, and what happens when its disk is full or broken."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import BinaryIO

import pytest

from app.settings import Settings
from app.storage import MissingObjectError, StorageError, open_storage, storage_of
from app.storage.local import LocalStorage


def files(folder: Path) -> set[str]:
    """Everything below a folder, parts and empty folders included."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.fixture
def store(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "objects")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "objects"


def test_nothing_is_left_of_what_is_deleted(store: LocalStorage, folder: Path) -> None:
    store.put("jobs/a/band/0", b"x")
    store.put("jobs/a/source", b"x")
    store.put("uploads/b", b"x")
    store.delete("jobs/a/band/0")
    assert files(folder) == {"jobs", "jobs/a", "jobs/a/source", "uploads", "uploads/b"}
    store.delete_prefix("jobs/a")
    store.delete("uploads/b")
    assert files(folder) == set()
    assert folder.is_dir()


def test_others_may_not_look_in(store: LocalStorage, folder: Path) -> None:
    store.put("jobs/a/source", b"x")
    assert {path.stat().st_mode & 0o077 for path in (folder, folder / "jobs", folder / "jobs/a")} == {0}


def test_an_open_file_outlives_its_object(store: LocalStorage) -> None:
    store.put("jobs/a/result", b"first")
    with store.open("jobs/a/result") as file:
        store.put("jobs/a/result", b"other")
        store.delete_prefix("jobs/a")
        assert file.read() == b"first"


def test_a_writer_whose_folder_was_deleted_says_so(store: LocalStorage, folder: Path) -> None:
    writer = store.writer("jobs/a/strip/0")
    writer.write(b"x")
    assert store.delete_prefix("jobs/a") == 0
    with pytest.raises(MissingObjectError):
        writer.commit()
    writer.abort()
    assert files(folder) == set()


def test_a_key_does_not_lie_under_another(store: LocalStorage) -> None:
    store.put("a/b", b"x")
    with pytest.raises(ValueError, match="other objects lie under 'a'"):
        store.put("a", b"y")
    with pytest.raises(StorageError):
        store.put("a/b/c", b"y")
    store.delete("a")
    assert [key for key, _ in store.list("")] == ["a/b"]


def test_commit_is_durable(store: LocalStorage, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order that survives a power cut: the file's bytes, its name, and the names of new folders above it."""
    events: list[tuple[str, str]] = []
    sync, replace = os.fsync, Path.replace

    def traced_sync(descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink()
        events.append(("fsync", ".part" if ".part-" in name.name else name.relative_to(folder).as_posix()))
        sync(descriptor)

    def traced_replace(path: Path, target: Path) -> Path:
        events.append(("rename", target.relative_to(folder).as_posix()))
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", traced_sync)
    monkeypatch.setattr(Path, "replace", traced_replace)
    store.put("jobs/a/source", b"x")
    assert events == [
        ("fsync", "."),
        ("fsync", "jobs"),
        ("fsync", ".part"),
        ("rename", "jobs/a/source"),
        ("fsync", "jobs/a"),
    ]


def test_an_aborted_writer_leaves_no_folder(store: LocalStorage, folder: Path) -> None:
    store.writer("jobs/a/band/0").close()
    assert files(folder) == set()


def test_sweep_removes_old_parts_only(store: LocalStorage, folder: Path) -> None:
    store.put("jobs/a/source", b"x")
    old = time.time() - 3700
    for name in ("jobs/a/.part-old", "jobs/b/.part-old"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"half")
        os.utime(folder / name, (old, old))
    (folder / ".part-away").mkdir()
    (folder / ".part-away" / "result").write_bytes(b"x")
    writer = store.writer("jobs/c/source")
    writer.write(b"young")
    assert store.sweep() == 3
    assert writer.commit() == 5
    assert {path for path in files(folder) if "part" in path} == set()
    assert {key for key, _ in store.list("")} == {"jobs/a/source", "jobs/c/source"}
    assert not (folder / "jobs/b").exists()
    assert store.sweep() == 0


KILLED = """
import sys
from pathlib import Path
from typing import BinaryIO
from app.storage.local import LocalStorage
store = LocalStorage(Path(sys.argv[1]))
print("ready", flush=True)
number = 0
while True:
    number += 1
    store.put(f"jobs/{number % 7}/result", bytes([number % 251]) * 300_000)
"""


def test_a_killed_writer_leaves_whole_objects_only(folder: Path) -> None:
    for _ in range(4):
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(folder)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.1)  # any moment will do
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
    store = LocalStorage(folder)
    objects = dict(store.list(""))
    assert objects
    for key in objects:
        assert len(data := store.get(key)) == 300_000
        assert len(set(data)) == 1


def test_a_full_disk(store: LocalStorage, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """/dev/full takes nothing: what a file on a full disk does, at whatever size."""
    store.put("jobs/a/source", b"old")

    def open_full(folder: Path) -> tuple[BinaryIO, Path]:
        part = folder / ".part-full"
        part.symlink_to("/dev/full")
        return part.open("r+b"), part

    monkeypatch.setattr(store, "open_part", open_full)
    for size in (1, 1_000_000):
        with pytest.raises(StorageError, match="the disk is full") as error:
            store.put("jobs/a/source", bytes(size))
        assert error.value.code == "storage_full"
        writer = store.writer("jobs/a/source")
        with pytest.raises(StorageError, match="the disk is full"):
            writer.writelines([bytes(size), bytes(1_000_000)])
        writer.abort()
        writer.abort()
        with pytest.raises(ValueError, match="closed"):
            writer.write(b"x")
    assert store.get("jobs/a/source") == b"old"
    assert files(folder) == {"jobs", "jobs/a", "jobs/a/source"}
    assert store.delete_prefix("jobs/a") == 1


def test_below_its_reserve_a_folder_is_full(store: LocalStorage, folder: Path) -> None:
    store.put("jobs/a/source", b"x" * 1000)
    with LocalStorage(folder, min_free_bytes=1).writer("jobs/b/source") as writer:
        writer.write(bytes(1000))
        writer.commit()
    reserved = LocalStorage(folder, min_free_bytes=2**62)
    for use in (reserved.check, lambda: reserved.put("jobs/c/source", b"x"), lambda: reserved.writer("jobs/c/source")):
        with pytest.raises(StorageError, match="kept free: delete something") as error:
            use()
        assert error.value.code == "storage_full"
    assert reserved.get("jobs/a/source") == b"x" * 1000
    assert reserved.delete_prefix("jobs/a") == 1
    reserved.delete("jobs/b/source")
    assert files(folder) == set()


def test_the_reserve_is_looked_at_while_writing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStorage(folder, min_free_bytes=1000)
    free = iter([10**9, 10**9, 999])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 0, next(free)))  # type: ignore[attr-defined]
    with store.writer("a") as writer:
        writer.write(bytes(8 * 1024 * 1024))
        with pytest.raises(StorageError, match="0 MB left"):
            writer.write(bytes(8 * 1024 * 1024))
    assert files(folder) == set()


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot make its folder") as error:
        LocalStorage(tmp_path / "file" / "objects")
    assert error.value.code == "storage_unavailable"


def test_a_vanished_folder_is_unavailable(store: LocalStorage, folder: Path) -> None:
    folder.rmdir()
    with pytest.raises(StorageError) as error:
        store.check()
    assert error.value.code == "storage_unavailable"


def test_addresses(tmp_path: Path) -> None:
    store = open_storage((tmp_path / "a b%").as_uri())
    store.put("x", b"1")
    assert (tmp_path / "a b%" / "x").read_bytes() == b"1"
    assert store.presign("x", method="GET", seconds=60) is None


@pytest.mark.parametrize(
    "url", ["", "objects", "/objects", "file:objects", "file://host/x", "ftp://x/y", "file:///a?b", "http://h/b"]
)
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(ValueError, match="must be file:///folder"):
        open_storage(url)


def test_the_settings_name_a_store(tmp_path: Path) -> None:
    assert storage_of(Settings(data_dir=tmp_path)).presign("a", method="GET", seconds=1) is None
    assert (tmp_path / "objects").is_dir()
    full = storage_of(Settings(storage_url=(tmp_path / "x").as_uri(), storage_min_free_mb=10**9))
    with pytest.raises(StorageError, match="kept free"):
        full.check()
    bucket = storage_of(
        Settings(
            storage_url="s3://bucket/x",
            storage_public_url="https://s3.example.org",
            s3_access_key_id="NAME",
            s3_secret_access_key="secret",  # noqa: S106
        )
    )
    link = bucket.presign("a", method="GET", seconds=60) or ""
    assert link.startswith("https://s3.example.org/bucket/x/a?")
    assert "NAME" in link
