"""Exported files reach a folder whole or not at all, whenever the export is killed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.inference.registry import Registry
from model_export import publish as publishing
from model_export.publish import publish
from tests.models import faded, nearest, write_model

FINAL = ("manifest.json", "x2.onnx", "x2.float.onnx")


class Killed(BaseException):
    """Stands for kill -9: nothing catches it."""


def made(
    place: Path, build: Callable[[int, str], bytes], *, kinds: tuple[str, ...] = ("uint8", "float")
) -> dict[str, Path]:
    names = {"uint8": "x2.onnx", "float": "x2.float.onnx", "fp16": "x2.fp16.onnx"}
    place.mkdir(exist_ok=True)
    for kind in kinds:
        (place / names[kind]).write_bytes(build(2, "float" if kind == "float" else "uint8"))
    return {kind: place / names[kind] for kind in kinds}


def merge_into(template: dict[str, Any]) -> Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]:
    """A manifest like ``template`` with the given files and the next version."""

    def merge(present: dict[str, Any], files: dict[str, Any]) -> dict[str, Any]:
        entry = template["scales"]["2"] | {"files": files}
        others = present.get("scales", {})
        return template | {"version": "1.0.1" if present else "1.0.0", "scales": others | {"2": entry}}

    return merge


@pytest.fixture
def template(tmp_path: Path) -> dict[str, Any]:
    folder = write_model(tmp_path / "template", "net", scales=(2,))
    return json.loads((folder / "manifest.json").read_text())


def served(models: Path) -> bytes:
    """The bytes of ``net``'s x2 as the service reads them: manifest, then every file against its sha256."""
    variant = Registry.load([models]).find("net", 2)
    variant.read(variant.entry.files.float)
    return variant.read(variant.entry.files.uint8)


def test_a_new_model_appears_whole(tmp_path: Path, template: dict[str, Any]) -> None:
    models = tmp_path / "models"
    path = publish(models / "net", 2, made(tmp_path / "made", nearest), merge_into(template))
    assert path == models / "net" / "manifest.json"
    assert served(models) == nearest(2, "uint8")
    assert sorted(each.name for each in (models / "net").iterdir()) == ["manifest.json", "x2.float.onnx", "x2.onnx"]
    assert [each.name for each in models.iterdir()] == ["net"]


def test_a_replaced_one_ends_with_plain_names_and_without_what_nothing_names(
    tmp_path: Path, template: dict[str, Any]
) -> None:
    models = tmp_path / "models"
    publish(models / "net", 2, made(tmp_path / "1", nearest, kinds=("uint8", "float", "fp16")), merge_into(template))
    (models / "net" / "README.md").write_text("mine")
    (models / "net" / "x4.onnx").write_bytes(b"another scale")
    publish(models / "net", 2, made(tmp_path / "2", faded), merge_into(template))
    assert served(models) == faded(2, "uint8")
    left = sorted(each.name for each in (models / "net").iterdir())
    assert left == ["README.md", "manifest.json", "x2.float.onnx", "x2.onnx", "x4.onnx"]


@pytest.mark.parametrize("there", [False, True], ids=["new", "replaced"])
def test_a_kill_at_any_moment_leaves_one_of_the_two_models(
    tmp_path: Path, template: dict[str, Any], there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills before each rename, deletion and sync in turn, until an export gets through; then exports once more."""
    old, new = nearest(2, "uint8"), faded(2, "uint8")
    files = made(tmp_path / "made", faded)
    seen = []
    for moment in range(100):
        models = tmp_path / f"models-{moment}"
        models.mkdir()
        if there:
            publish(models / "net", 2, made(tmp_path / "old", nearest), merge_into(template))
        left = moment

        def counted(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*given: Any, **named: Any) -> Any:
                nonlocal left
                if left == 0:
                    raise Killed
                left -= 1
                return real(*given, **named)

            return call

        with monkeypatch.context() as patch:
            for owner, name in ((Path, "replace"), (Path, "rename"), (Path, "unlink"), (os, "fsync")):
                patch.setattr(owner, name, counted(getattr(owner, name)))
            try:
                publish(models / "net", 2, files, merge_into(template))
                through = True
            except Killed:
                through = False
        if there or (models / "net").exists():
            seen.append(served(models))
        else:
            assert Registry.load([models]).models() == []
        if not through:
            publish(models / "net", 2, files, merge_into(template))
        assert served(models) == new
        assert sorted(each.name for each in (models / "net").iterdir()) == sorted(FINAL)
        shutil.rmtree(models)
        if through:
            break
    else:
        pytest.fail("it never got through")
    assert moment >= 6
    assert seen == sorted(seen, key=lambda content: content == new), "never back to the old one"
    assert set(seen) == ({old, new} if there else {new})


def test_two_exports_at_once_take_turns(tmp_path: Path, template: dict[str, Any]) -> None:
    fcntl = pytest.importorskip("fcntl")
    models = tmp_path / "models"
    models.mkdir()
    with publishing._taking_turns(models):
        other = os.open(models, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)
