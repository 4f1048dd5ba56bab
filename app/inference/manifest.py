"""``manifest.json``: what a model says about itself.

Written by model_export, read here; keys that this version does not know are kept and ignored.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.inference.errors import BrokenModelError

MANIFEST = "manifest.json"

# A file lies beside its manifest: a plain name, so that a manifest cannot point anywhere else.
_PlainName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class _Read(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)


class Text(_Read):
    """One sentence in the languages of the page."""

    en: str
    ru: str


class Slice(_Read):
    """Bytes ``begin`` to ``end`` (not included) of the file of ``uint8``."""

    begin: Annotated[int, Field(ge=0)]
    end: Annotated[int, Field(ge=1)]


class ModelFile(_Read):
    """One ONNX file beside the manifest."""

    file: _PlainName
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=1)]
    continued: Slice | None = None
    """Where its weights lie, if it has none of its own: its bytes and then these are the ONNX file."""


class Files(_Read):
    """The same weights behind different doors."""

    uint8: ModelFile
    """uint8 NHWC in and out."""
    float: ModelFile
    """float32 in [0, 1], NHWC, in and out (already clamped)."""
    fp16: ModelFile | None = None
    """As ``uint8``, computed in half precision. It carries a second output, ``finite`` (one bool, false if
    any value was NaN or infinite before the cast to bytes hid it), or it is taken at its word."""


class ScaleEntry(_Read):
    """One factor of a model."""

    parameters: Annotated[int, Field(ge=0)]
    multiply_adds_per_input_pixel: Annotated[int, Field(ge=0)]
    halo: Annotated[int, Field(ge=0)]
    """Border in input pixels for which a tile equals the same region of the whole picture to <= 1 level (in bfloat16 to
    <= 2)."""
    receptive_field_radius: Annotated[float, Field(ge=0)]
    opset: Annotated[int, Field(ge=1)]
    activation_bytes_per_input_pixel: Annotated[int, Field(ge=1)]
    """Peak of live activations while one tile runs in float32, divided by the tile's area."""
    files: Files
    """Other precisions than these (``int8``) may be there too; this service does not compute in them."""
    precisions: dict[str, Any] = Field(default_factory=dict)
    """Number format -> what was measured of it. ``bfloat16`` has no file of its own: that it stands here allows it for
    ``uint8``."""
    measured: dict[str, Any] = Field(default_factory=dict)

    @property
    def allows_bf16(self) -> bool:
        """Whether 8-bit pictures may be computed in bfloat16 where that is faster."""
        return "bfloat16" in self.precisions

    @property
    def served_precisions(self) -> list[str]:
        """The number formats that this service may compute in."""
        allowed = {"float32": True, "float16": self.files.fp16 is not None, "bfloat16": self.allows_bf16}
        return [name for name, there in allowed.items() if there]


class Manifest(_Read):
    """One model: its name, what it is for, and one entry per factor."""

    format: Literal[1] = Field(alias="schema")
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=64)]
    version: str
    title: Text
    description: Text
    kind: Literal["fidelity", "perceptual", "restoration", "baseline"]
    architecture: dict[str, Any] = Field(default_factory=dict)
    licence: str
    equalize_colors: bool = False
    """Whether outputs get the source's colour histogram when the caller does not say."""
    default: bool = False
    scales: Annotated[dict[int, ScaleEntry], Field(min_length=1)]


def read_manifest(path: Path) -> Manifest:
    """The manifest in the file ``path``.

    Raises BrokenModelError that names the file and what is wrong in it.
    """
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BrokenModelError(f"{path} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise BrokenModelError(f"{path} is not a model manifest: {where}: {first['msg']}.") from error
