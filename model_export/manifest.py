"""Writes ``manifest.json``: what the service and its users may rely on about a model."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

SCHEMA = 1
LICENCE = "Apache-2.0"


def description_of(name: str) -> dict[str, Any]:
    """Title, one-sentence description and kind of model ``name``; plain words for one that nobody described."""
    with Path(__file__).with_name("descriptions.toml").open("rb") as file:
        known = tomllib.load(file)
    sentence = {"en": f"The model {name}, trained with chetko-train.", "ru": f"Модель {name}, обученная chetko-train."}
    plain = {"kind": "fidelity", "title": {"en": name, "ru": name}, "description": sentence}
    return {"default": False} | known.get(name, plain)


def file_entry(path: Path, digest: str) -> dict[str, Any]:
    """How a manifest names a file."""
    return {"file": path.name, "sha256": digest, "bytes": path.stat().st_size}


def merge_scale(folder: Path, scale: int, entry: dict[str, Any], *, architecture: dict[str, Any]) -> Path:
    """Puts ``entry`` in as the manifest's ``scale`` and leaves the other scales as they are.

    The version's patch number goes up when a scale that was there is replaced, so that cached results of the old
    weights are not taken for the new ones.
    """
    path = folder / "manifest.json"
    manifest: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    major, minor, patch = map(int, manifest.get("version", "1.0.0").split("."))
    scales: dict[str, Any] = manifest.get("scales", {})
    if str(scale) in scales:
        patch += 1
    scales[str(scale)] = entry
    manifest = {
        "schema": SCHEMA, "name": folder.name, "version": f"{major}.{minor}.{patch}", **description_of(folder.name),
        "architecture": architecture, "licence": LICENCE, "equalize_colors": False,
        "scales": dict(sorted(scales.items())),
    }  # fmt: skip
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
    partial.replace(path)
    return path
