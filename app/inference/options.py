"""What a caller may choose about an enlargement, and what is refused before it costs anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Fit = Literal["inside", "cover", "exact"]


@dataclass(frozen=True)
class Options:
    """What a caller may choose."""

    model: str | None = None
    """A model's name; None is the default one."""
    scale: float = 4
    """How many times wider and higher the result is, 1..8; passed over where ``width`` or ``height`` is given."""
    width: int | None = None
    height: int | None = None
    """Size of the result in pixels, instead of ``scale``; of one alone the other follows."""
    fit: Fit | None = None
    """How a result of another shape than its source gets both: ``inside`` (the default) is no wider and no higher than
    asked, ``cover`` fills the size and loses what sticks out around the centre, ``exact`` stretches."""
    format: str = "same"
    """``same`` or a name in app.imaging.formats.FORMATS."""
    quality: int | None = None
    """1..100 for lossy formats; None is the format's default."""
    metadata: Literal["keep", "strip"] = "keep"
    """``strip`` drops everything beside the pixels, which are converted to sRGB first."""
    equalize_colors: bool | None = None
    """Give the output the source's colour histogram; None is what the model's manifest says."""
    tile: int | None = None
    """Edge of the kept squares in input pixels; None is what the memory setting allows."""

    def to_json(self) -> dict[str, Any]:
        """Of JSON's own types, every field by its name."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Options:
        """What ``to_json`` gave; fields that are missing have their defaults. Raises TypeError for unknown ones."""
        return cls(**content)


@dataclass(frozen=True)
class Limits:
    """What is refused before it costs anything; None is no limit."""

    max_input_pixels: int | None
    max_output_pixels: int | None
    """Of all frames together."""
    max_frames: int | None = None
    """Frames of an animation."""
