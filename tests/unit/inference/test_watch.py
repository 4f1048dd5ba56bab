"""When models are to be read again."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from app.inference.watch import ModelWatch
from tests.models import faded, nearest, write_model


def test_a_new_model_is_told_once_and_only_when_it_stands_still(tmp_path: Path) -> None:
    watch = ModelWatch([tmp_path])
    assert not watch.changed()
    folder = write_model(tmp_path, "ant")
    assert not watch.changed(), "it may still be on its way"
    (folder / "x8.onnx").write_bytes(b"more")
    assert not watch.changed(), "it was"
    assert watch.changed()
    assert not watch.changed(), "told once"


def test_a_removed_model_and_a_removed_folder_are_changes(tmp_path: Path) -> None:
    write_model(tmp_path / "own", "ant")
    watch = ModelWatch([tmp_path / "own"])
    shutil.rmtree(tmp_path / "own" / "ant")
    assert [watch.changed(), watch.changed(), watch.changed()] == [False, True, False]
    shutil.rmtree(tmp_path / "own")
    write_model(tmp_path / "own", "ant")
    assert [watch.changed(), watch.changed()] == [False, True]


def test_a_file_that_was_renamed_into_place_is_a_change_whatever_its_size_and_time(tmp_path: Path) -> None:
    folder = write_model(tmp_path, "ant")
    before = (folder / "x2.onnx").stat()
    watch = ModelWatch([tmp_path])
    other = folder / "_new"
    other.write_bytes(bytes(before.st_size))
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.rename(folder / "x2.onnx")
    assert [watch.changed(), watch.changed()] == [False, True]


def test_what_the_registry_skips_is_skipped(tmp_path: Path) -> None:
    watch = ModelWatch([tmp_path])
    write_model(tmp_path, "_draft")
    write_model(tmp_path, ".hidden")
    assert [watch.changed(), watch.changed()] == [False, False]


def test_a_change_while_the_models_are_read_is_told_afterwards(tmp_path: Path) -> None:
    write_model(tmp_path, "ant", nearest)
    watch = ModelWatch([tmp_path])
    watch.look()
    write_model(tmp_path, "bee", faded)
    assert [watch.changed(), watch.changed()] == [False, True]
