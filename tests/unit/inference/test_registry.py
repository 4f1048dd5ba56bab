"""Manifests and model files: what is found, and how what is broken is named."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from app.inference.errors import BrokenModelError, UnknownModelError, UnknownScaleError
from app.inference.registry import SHIPPED, Registry, model_folders
from tests.models import nearest, write_model


def _rewrite(folder: Path, **changes: Any) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), "utf-8")


def test_models_are_listed_by_name_and_found(tmp_path: Path) -> None:
    write_model(tmp_path, "zebra", scales=(2,))
    folder = write_model(tmp_path, "ant", scales=(2, 4))
    registry = Registry.load([tmp_path])
    assert [model.name for model in registry.models()] == ["ant", "zebra"]
    variant = registry.find("ant", 4)
    assert (variant.manifest.name, variant.scale, variant.folder) == ("ant", 4, folder)
    assert variant.read(variant.entry.files.uint8) == nearest(4, "uint8")


def test_default_is_the_one_that_says_so_else_the_first_by_name(tmp_path: Path) -> None:
    write_model(tmp_path / "a", "bee")
    write_model(tmp_path / "a", "ant")
    assert Registry.load([tmp_path / "a"]).default == "ant"
    assert Registry.load([tmp_path / "a"]).find(None, 2).manifest.name == "ant"
    write_model(tmp_path / "a", "cat", default=True)
    assert Registry.load([tmp_path / "a"]).default == "cat"


def test_an_operators_default_wins_over_the_shipped_one(tmp_path: Path) -> None:
    write_model(tmp_path / "shipped", "zebra", default=True)
    write_model(tmp_path / "own", "ant", default=True)
    assert Registry.load([tmp_path / "shipped", tmp_path / "own"]).default == "ant"
    assert Registry.load([tmp_path / "own", tmp_path / "shipped"]).default == "zebra"


def test_folders_of_models(tmp_path: Path) -> None:
    assert model_folders() == [SHIPPED]
    assert model_folders(tmp_path) == [SHIPPED, tmp_path]


def test_unknown_model_lists_what_there_is(tmp_path: Path) -> None:
    write_model(tmp_path, "ant")
    write_model(tmp_path, "bee")
    with pytest.raises(UnknownModelError, match="no model 'wasp'; there is ant and bee"):
        Registry.load([tmp_path]).find("wasp", 4)


def test_unknown_scale_lists_what_there_is(tmp_path: Path) -> None:
    write_model(tmp_path, "ant", scales=(2, 4))
    with pytest.raises(UnknownScaleError, match="'ant' does not enlarge 3 times; it has the scales 2 and 4"):
        Registry.load([tmp_path]).find("ant", 3)


def test_no_model_at_all_is_told(tmp_path: Path) -> None:
    registry = Registry.load([tmp_path])
    assert registry.models() == []
    with pytest.raises(UnknownModelError, match="No model is installed"):
        registry.find(None, 4)


def test_underscored_and_hidden_folders_and_files_are_skipped(tmp_path: Path) -> None:
    write_model(tmp_path, "ant")
    (tmp_path / "_draft").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / "README.md").write_text("models")
    assert [model.name for model in Registry.load([tmp_path]).models()] == ["ant"]


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(BrokenModelError, match=re.escape(f"{tmp_path / 'nowhere'} is not a folder of models")):
        Registry.load([tmp_path / "nowhere"])


def test_missing_manifest_is_named(tmp_path: Path) -> None:
    (tmp_path / "ant").mkdir()
    with pytest.raises(BrokenModelError, match=re.escape(f"{tmp_path / 'ant' / 'manifest.json'} cannot be read")):
        Registry.load([tmp_path])


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"schema": 2}, "schema"),
        ({"kind": "magic"}, "kind"),
        ({"scales": {}}, "scales"),
        ({"title": {"en": "only English"}}, "title.ru"),
        ({"name": "../etc"}, "name"),
    ],
)
def test_bad_manifest_names_file_and_place(tmp_path: Path, changes: dict[str, Any], where: str) -> None:
    folder = write_model(tmp_path, "ant")
    _rewrite(folder, **changes)
    with pytest.raises(BrokenModelError) as caught:
        Registry.load([tmp_path])
    assert str(folder / "manifest.json") in caught.value.message
    assert f": {where}" in caught.value.message


def test_manifest_that_is_no_json(tmp_path: Path) -> None:
    folder = write_model(tmp_path, "ant")
    (folder / "manifest.json").write_text("{")
    with pytest.raises(BrokenModelError, match=re.escape(str(folder / "manifest.json"))):
        Registry.load([tmp_path])


def test_file_outside_the_folder_is_refused(tmp_path: Path) -> None:
    outside = {"file": "../secret.onnx", "sha256": "0" * 64, "bytes": 1}
    write_model(tmp_path, "ant", entry={"files": {"uint8": outside, "float": outside}})
    with pytest.raises(BrokenModelError, match="file"):
        Registry.load([tmp_path])


def test_unknown_keys_are_kept(tmp_path: Path) -> None:
    write_model(tmp_path, "ant", entry={"measured": {"Set5": {"psnr": 31.5}}}, colour="green")
    manifest = Registry.load([tmp_path]).models()[0]
    assert manifest.model_dump()["colour"] == "green"
    assert manifest.scales[4].measured["Set5"]["psnr"] == 31.5


def test_missing_model_file_is_told_at_start(tmp_path: Path) -> None:
    folder = write_model(tmp_path, "ant")
    (folder / "x4.float.onnx").unlink()
    with pytest.raises(BrokenModelError, match=re.escape(f"{folder / 'x4.float.onnx'} is missing")):
        Registry.load([tmp_path])


def test_weights_may_lie_in_the_file_for_bytes(tmp_path: Path) -> None:
    folder = write_model(tmp_path, "ant")
    whole, twin = (folder / "x4.onnx").read_bytes(), (folder / "x4.float.onnx").read_bytes()
    manifest = json.loads((folder / "manifest.json").read_text())
    files = manifest["scales"]["4"]["files"]
    # Not a split that makes sense to onnxruntime: only which bytes are read, and that they are checked.
    files["float"]["continued"] = {"begin": 5, "end": 9}
    _rewrite(folder, scales=manifest["scales"])
    variant = Registry.load([tmp_path]).find("ant", 4)
    assert variant.read(variant.entry.files.float) == twin + whole[5:9]
    (folder / "x4.onnx").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(BrokenModelError, match=re.escape(f"{folder / 'x4.onnx'} is not the file")):
        variant.read(variant.entry.files.float)


def test_changed_model_file_is_refused_when_it_is_read(tmp_path: Path) -> None:
    folder = write_model(tmp_path, "ant")
    variant = Registry.load([tmp_path]).find("ant", 4)
    content = bytearray((folder / "x4.onnx").read_bytes())
    content[-1] ^= 1
    (folder / "x4.onnx").write_bytes(content)
    with pytest.raises(BrokenModelError, match=re.escape(f"{folder / 'x4.onnx'} is not the file")) as caught:
        variant.read(variant.entry.files.uint8)
    assert variant.entry.files.uint8.sha256 in caught.value.message


def test_two_models_of_one_name_are_refused(tmp_path: Path) -> None:
    one = write_model(tmp_path / "a", "ant")
    other = write_model(tmp_path / "b", "ant")
    with pytest.raises(BrokenModelError) as caught:
        Registry.load([tmp_path / "a", tmp_path / "b"])
    assert str(one) in caught.value.message
    assert str(other) in caught.value.message
