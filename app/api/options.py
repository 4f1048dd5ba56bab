"""The options of an enlargement, as they stand in the query."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from app.inference.enlarge import Options


def _whole(value: object) -> object:
    return int(value) if isinstance(value, str) and re.fullmatch("[0-9]{1,9}", value) else value


Scale = Annotated[Literal[2, 4], BeforeValidator(_whole)]


class UpscaleQuery(BaseModel):
    """Options of ``POST /v1/upscale``; a name that is not here is refused, so that a misspelt one is not
    ignored.
    """

    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(
        None,
        min_length=1,
        max_length=64,
        examples=["fast"],
        description="Name of the model, as `GET /v1/models` lists it; without it the default one.",
    )
    scale: Scale = Field(4, description="How many times wider and higher the result is.")
    format: Literal["same", "png", "jpeg", "webp", "avif", "tiff"] = Field(
        "same", description="Format of the result; `same` is that of the source, PNG for BMP and GIF, JPEG for HEIC."
    )
    quality: int | None = Field(
        None, ge=1, le=100, examples=[90], description="Quality of JPEG, WebP and AVIF results; without it a good one."
    )
    metadata: Literal["keep", "strip"] = Field(
        "keep", description="Whether colour profile, EXIF, XMP and resolution go along into the result."
    )
    equalize_colors: bool | None = Field(
        None,
        description="Gives the result the colour histogram of the source; without it what the model advises.",
    )

    def options(self) -> Options:
        """The same in the terms of ``app.inference``."""
        return Options(
            model=self.model,
            scale=self.scale,
            format=self.format,
            quality=self.quality,
            metadata=self.metadata,
            equalize_colors=self.equalize_colors,
        )


NAMES = tuple(UpscaleQuery.model_fields)
