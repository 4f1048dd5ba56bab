"""How a picture gets to the size that was asked for: one or two passes through a network, then down to the very
pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from app.imaging.picture import PictureTooLargeError
from app.inference.errors import UnknownScaleError
from app.inference.options import Limits, Options
from app.inference.registry import Registry, Variant

MOST = 8
"""The largest factor."""
# A result may be this many times smaller than what the networks made on the way: 2 x 2 at a factor of 1. What lies
# above is a picture of an odd shape, most of which would be computed to be thrown away.
_MOST_WASTE = 4


@dataclass(frozen=True)
class Course:
    """The way of a picture of a known size."""

    variants: tuple[Variant, ...]
    """One model at one scale for each pass."""
    source: tuple[int, int]
    """Width and height."""
    width: int
    height: int
    """Of the result."""
    factor: float
    """How many times larger the result is, along the side that grows most: 1..MOST."""
    box: tuple[float, float, float, float]
    """What of the enlarged picture becomes the result: left, top, right, bottom in its pixels."""

    @property
    def scale(self) -> int:
        """The factor of all passes together."""
        return math.prod(variant.scale for variant in self.variants)

    @property
    def enlarged(self) -> tuple[int, int]:
        """Width and height after the last pass."""
        return self.source[0] * self.scale, self.source[1] * self.scale

    @property
    def source_box(self) -> tuple[float, float, float, float]:
        """What of the source becomes the result: left, top, right, bottom in its pixels."""
        left, top, right, bottom = (edge / self.scale for edge in self.box)
        return left, top, right, bottom

    @property
    def resamples(self) -> bool:
        """Whether the enlarged picture is not yet the result."""
        return self.enlarged != (self.width, self.height)


def check_options(options: Options, registry: Registry) -> None:
    """What can be refused before anything is known of the picture.

    Raises UnknownModelError, UnknownScaleError for a scale outside 1..8 or beyond the model, and ValueError for a
    ``fit`` that needs both sides and has one.
    """
    if options.width is None and options.height is None:
        registry.passes(options.model, _checked(options.scale))
    else:
        registry.passes(options.model, 1)
        if options.fit not in (None, "inside") and None in (options.width, options.height):
            raise ValueError(f"fit={options.fit} needs a width and a height")


def plot_course(options: Options, registry: Registry, width: int, height: int) -> Course:
    """The course of a picture of ``width`` x ``height`` pixels.

    Raises what ``check_options`` does, and UnknownScaleError too for a size that is not 1..8 times the picture's.
    """
    check_options(options, registry)
    across, down, size = _size(options, width, height)
    factor = max(across, down)
    variants = registry.passes(options.model, factor)
    scale = math.prod(variant.scale for variant in variants)
    box = 0.0, 0.0, float(width * scale), float(height * scale)
    if options.fit == "cover":
        # In whole pixels of the enlarged picture the centre could be off by half a pixel of the result.
        kept = size[0] / factor * scale, size[1] / factor * scale
        left, top = (box[2] - kept[0]) / 2, (box[3] - kept[1]) / 2
        box = left, top, left + kept[0], top + kept[1]
    return Course(variants, (width, height), *size, factor, box)


def check_course(course: Course, limits: Limits, *, frames: int = 1) -> None:
    """Raises PictureTooLargeError ``output_too_large`` for a result that is larger than allowed, or is on its way
    there.
    """
    most = limits.max_output_pixels
    if most is None:
        return
    pixels = course.width * course.height
    if frames > 1 and pixels * frames > most:
        raise PictureTooLargeError(
            "output_too_large",
            f"{_number(course.factor)} times larger, the {frames} frames of {course.width} x {course.height} have "
            f"{pixels * frames:,} pixels, more than the {most:,} allowed. Choose a smaller scale, or png: that "
            "enlarges the first frame.",
            limit=most,
        )
    if pixels > most:
        raise PictureTooLargeError(
            "output_too_large",
            f"{_number(course.factor)} times larger, the picture has {course.width} x {course.height} = {pixels:,} "
            f"pixels, more than the {most:,} allowed. Choose a smaller scale or a smaller picture.",
            limit=most,
        )
    across, down = course.enlarged
    if across * down > most * _MOST_WASTE:
        raise PictureTooLargeError(
            "output_too_large",
            f"The picture has {course.source[0]} x {course.source[1]} pixels and would have to become "
            f"{across} x {down} before it is {course.width} x {course.height}: more than the "
            f"{most * _MOST_WASTE:,} pixels allowed on the way. Crop it first.",
            limit=most * _MOST_WASTE,
        )


def _size(options: Options, width: int, height: int) -> tuple[float, float, tuple[int, int]]:
    """(factor across, factor down, width and height of the result)."""
    if options.width is None and options.height is None:
        factor = options.scale
        return factor, factor, (max(1, round(width * factor)), max(1, round(height * factor)))
    wanted = options.width, options.height
    factors = [side / own for side, own in zip(wanted, (width, height), strict=True) if side is not None]
    fit = options.fit or "inside"
    factor = min(factors) if fit == "inside" else max(factors)
    if not 1 <= factor <= MOST:
        asked = " x ".join("any" if side is None else str(side) for side in wanted)
        raise UnknownScaleError(
            f"The picture has {width} x {height} pixels; to become {asked} it would have to be enlarged "
            f"{factor:.3g} times, and 1 to {MOST} times is possible."
        )
    if fit == "exact":
        return factors[0], factors[1], (int(wanted[0] or 0), int(wanted[1] or 0))
    if fit == "cover":
        return factor, factor, (int(wanted[0] or 0), int(wanted[1] or 0))
    return factor, factor, (max(1, round(width * factor)), max(1, round(height * factor)))


def _checked(factor: float) -> float:
    if not 1 <= factor <= MOST:
        raise UnknownScaleError(f"A picture is enlarged 1 to {MOST} times, not {_number(factor)} times.")
    return factor


def _number(factor: float) -> str:
    return f"{factor:.4g}"
