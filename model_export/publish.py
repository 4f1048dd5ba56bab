"""Puts exported files into a model's folder so that whoever reads it meanwhile finds the old model or the new one."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"

Manifest = dict[str, Any]
Merge = Callable[[Manifest, dict[str, Any]], Manifest]


def publish(folder: Path, scale: int, made: Mapping[str, Path], merge: Merge) -> Path:
    """Copies ``made`` (kind -> finished file, named as it shall be) into ``folder`` and writes the manifest that
    ``merge(manifest there or {}, its entry for the files)`` gives; returns its path.

    Guaranteed for a kill at any moment: the manifest in ``folder`` names files that are there whole and have its
    sha256, all old or all new. A folder that does not exist appears with everything in it. In one that does, the
    new files first get names of their own by their content, and a manifest that names these; only then are the old
    files, which nothing names any more, replaced under the plain names, and the manifest a second time.
    A reader that had read the old manifest and opens its files too late sees a sha256 that does not fit or a missing
    file, and a manifest that has changed since.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _taking_turns(folder.parent):
        if not folder.exists():
            return _publish_new(folder, made, merge)
        manifest = read_manifest(folder)
        own = {kind: f"x{scale}.{_digest(path)[:12]}{path.suffix}" for kind, path in made.items()}
        for kind, path in made.items():
            _copy(path, folder / own[kind])
        _write_manifest(folder, merge(manifest, {kind: _entry(folder / name) for kind, name in own.items()}))
        for path in made.values():
            _copy(path, folder / path.name)
        final = merge(manifest, {kind: _entry(folder / path.name) for kind, path in made.items()})
        _write_manifest(folder, final)
        _remove_unnamed(folder, scale, final)
    return folder / MANIFEST


def read_manifest(folder: Path) -> Manifest:
    """The manifest of ``folder``, or {} where there is none."""
    path = folder / MANIFEST
    manifest: Manifest = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return manifest


def _publish_new(folder: Path, made: Mapping[str, Path], merge: Merge) -> Path:
    staging = folder.with_name(f".{folder.name}.part")  # the service skips names with a dot
    shutil.rmtree(staging, ignore_errors=True)  # of an export that was killed
    staging.mkdir()
    for path in made.values():
        _copy(path, staging / path.name)
    _write_manifest(staging, merge({}, {kind: _entry(staging / path.name) for kind, path in made.items()}))
    staging.rename(folder)
    return folder / MANIFEST


def _entry(path: Path) -> dict[str, Any]:
    """How a manifest names a file."""
    return {"file": path.name, "sha256": _digest(path), "bytes": path.stat().st_size}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _copy(source: Path, target: Path) -> None:
    write_whole(target, source.read_bytes())


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
    write_whole(folder / MANIFEST, text.encode("utf-8"))


def write_whole(target: Path, content: bytes) -> None:
    """Writes the file ``target``, which a reader finds as it was or whole, also after a kill."""
    partial = target.with_name(target.name + ".part")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(target)


def _remove_unnamed(folder: Path, scale: int, manifest: Manifest) -> None:
    """Removes this scale's files that the manifest does not name: of a dropped precision, of a killed export."""
    named = {file["file"] for file in manifest["scales"][str(scale)]["files"].values()}
    ours = re.compile(rf"x{scale}\.([a-z0-9]+\.)?(onnx|head|safetensors)(\.part)?")
    for path in folder.iterdir():
        if ours.fullmatch(path.name) and path.name not in named:
            path.unlink()


@contextmanager
def _taking_turns(folder: Path) -> Iterator[None]:
    """Holds the folder's lock, so that x2 and x4 of a model, exported at once, do not lose one another."""
    try:
        import fcntl  # noqa: PLC0415 - there is none on Windows
    except ImportError:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
