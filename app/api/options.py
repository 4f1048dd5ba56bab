"""The options of an enlargement, as they stand in the query."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from app.api.problems import InvalidOptionProblem
from app.inference.enlarge import Fit, Options

# What the largest format holds; a smaller picture than asked is told only once its own size is known.
_MOST_EDGE = 2**31 - 1


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
    scale: float = Field(
        4,
        ge=1,
        le=8,
        allow_inf_nan=False,
        examples=[3],
        description="How many times wider and higher the result is, 1 to 8; passed over where `width` or `height` is "
        "given. What the model has no network for is enlarged further and brought down with an antialiased filter.",
    )
    width: int | None = Field(
        None,
        ge=1,
        le=_MOST_EDGE,
        examples=[1600],
        description="Width of the result in pixels, 1 to 8 times the picture's; without `height` that follows.",
    )
    height: int | None = Field(
        None,
        ge=1,
        le=_MOST_EDGE,
        examples=[1200],
        description="Height of the result in pixels, 1 to 8 times the picture's; without `width` that follows.",
    )
    fit: Fit | None = Field(
        None,
        description="How a picture of another shape gets the width and height: `inside` (the default) is no wider and "
        "no higher, `cover` fills both and loses what sticks out around the centre, `exact` stretches.",
    )
    format: Literal["same", "png", "jpeg", "webp", "avif", "tiff", "gif", "apng"] = Field(
        "same",
        description="Format of the result; `same` is that of the source, PNG for BMP and still GIF, JPEG for HEIC. An "
        "animated GIF, WebP or PNG stays one as `gif`, `webp`, `apng` or `same`; other formats get its first frame.",
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
        """The same in the terms of ``app.inference``. Raises InvalidOptionProblem for options that do not fit
        together.
        """
        if self.fit is not None and self.width is None and self.height is None:
            raise InvalidOptionProblem("fit says how a width and a height are reached: give them, or leave fit out.")
        if self.fit in ("cover", "exact") and (self.width is None or self.height is None):
            raise InvalidOptionProblem(f"fit={self.fit} needs a width and a height.")
        return Options(
            model=self.model,
            scale=self.scale,
            width=self.width,
            height=self.height,
            fit=self.fit,
            format=self.format,
            quality=self.quality,
            metadata=self.metadata,
            equalize_colors=self.equalize_colors,
        )


NAMES = tuple(UpscaleQuery.model_fields)
