"""What ``manifest.json`` tells: what the service and its users may rely on about a model."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCHEMA = 1
KINDS = ("fidelity", "perceptual", "restoration", "baseline")

# As app/inference/manifest.py takes them.
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


@dataclass(frozen=True)
class Words:
    """What people read about a model, as given on the command line; None is: as it was."""

    title: Sequence[str] | None = None
    """English, Russian; one for both."""
    description: Sequence[str] | None = None
    kind: str | None = None
    licence: str | None = None

    def over(self, name: str, present: dict[str, Any]) -> dict[str, Any]:
        """The manifest's texts: what is given here, else what ``descriptions.toml`` says of a shipped model, else
        what stands in the ``present`` manifest, else plain words."""
        with Path(__file__).with_name("descriptions.toml").open("rb") as file:
            shipped = tomllib.load(file).get(name, {})
        told: dict[str, Any] = {
            "default": False,
            "kind": "fidelity",
            "title": {"en": name, "ru": name},
            "description": {"en": f"The model {name}.", "ru": f"Модель {name}."},
            "licence": "Apache-2.0",
        }
        told |= {key: present[key] for key in told if key in present} | shipped
        for key, given in (("title", self.title), ("description", self.description)):
            if given:
                told[key] = {"en": given[0], "ru": given[-1]}
        told |= {key: given for key, given in (("kind", self.kind), ("licence", self.licence)) if given}
        return told


def merge_scale(
    present: dict[str, Any],
    name: str,
    scale: int,
    entry: dict[str, Any],
    *,
    words: Words,
    architecture: dict[str, Any],
    equalize_colors: bool,
) -> dict[str, Any]:
    """The ``present`` manifest ({}: none yet) with ``entry`` as its ``scale``; the other scales stay as they are.

    The version's patch number goes up when a scale that was there is replaced, so that cached results of the old
    weights are not taken for the new ones.
    """
    major, minor, patch = map(int, present.get("version", "1.0.0").split("."))
    scales: dict[str, Any] = dict(present.get("scales", {}))
    if str(scale) in scales:
        patch += 1
    scales[str(scale)] = entry
    return {
        "schema": SCHEMA, "name": name, "version": f"{major}.{minor}.{patch}", **words.over(name, present),
        "architecture": architecture, "equalize_colors": equalize_colors, "scales": dict(sorted(scales.items())),
    }  # fmt: skip
