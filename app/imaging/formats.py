"""What can be written, and what each format can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from app.imaging.picture import FormatCannotHoldError, Layout

# WebP and AVIF encoders hold the whole picture several times over. Measured peaks, in bytes per pixel: WebP 14, WebP
# with alpha 35, AVIF 33, AVIF with alpha 36. This bound keeps one encode below 1.2 GB.
_MAX_WHOLE_PIXELS = 32_000_000


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """One format that can be written."""

    media_type: str
    extension: str
    """Without the dot."""
    streams: bool
    """Memory of the encoder does not grow with the picture."""
    max_edge: int
    """Largest width and largest height, in pixels."""
    max_pixels: int | None
    """Largest width x height; None where only the edge counts."""
    holds_alpha: bool
    holds_16_bit: bool
    """Where False, 16-bit rows are rounded to 8 bits, which is no error."""
    default_quality: int | None
    """1..100; None for lossless formats, which ignore ``quality``."""
    animates: bool = False
    """Holds several frames with their timing."""
    stands_still: bool = True
    """Written for any picture. Where False only GIF, PNG and WebP are: as an animation, be it of one frame."""


FORMATS: Mapping[str, OutputFormat] = MappingProxyType(
    {
        "png": OutputFormat("image/png", "png", True, 2**31 - 1, None, True, True, None),
        # On enlarged photos 92 gives 48.7 dB at 1.0 bit per pixel; 85 loses 1.8 dB of it for a quarter of the bytes.
        "jpeg": OutputFormat("image/jpeg", "jpg", True, 65_500, None, False, False, 92),
        "webp": OutputFormat("image/webp", "webp", False, 16_383, _MAX_WHOLE_PIXELS, True, False, 90, animates=True),
        # AVIF's scale is its own: 75 gives less than half the bytes of JPEG at 92, WebP at 90 half.
        "avif": OutputFormat("image/avif", "avif", False, 65_535, _MAX_WHOLE_PIXELS, True, False, 75),
        "tiff": OutputFormat("image/tiff", "tif", True, 2**31 - 1, None, True, True, None),
        # Their frames are held whole, one at a time.
        "gif": OutputFormat(
            "image/gif", "gif", False, 65_535, _MAX_WHOLE_PIXELS, True, False, None, animates=True, stands_still=False
        ),
        "apng": OutputFormat(
            "image/apng",
            "png",
            False,
            2**31 - 1,
            _MAX_WHOLE_PIXELS,
            True,
            False,
            None,
            animates=True,
            stands_still=False,
        ),
    }
)

# What ``same`` means for formats that are read but not written, and for animations.
_SAME = {"bmp": "png", "gif": "png", "heic": "jpeg"}
_SAME_ANIMATED = {"gif": "gif", "png": "apng", "webp": "webp"}


def choose_format(requested: str, source_format: str, *, frames: int = 1) -> str:
    """The output format for ``same`` or a name in FORMATS; ``frames`` are those of the source.

    ``same`` makes PNG of BMP and still GIF (both lossless) and JPEG of HEIC. Raises ValueError for any other name.
    """
    if requested == "same":
        requested = _SAME.get(source_format, source_format)
        if frames > 1:
            requested = _SAME_ANIMATED.get(source_format, requested)
    if requested not in FORMATS:
        raise ValueError(f"unknown output format {requested!r}; there are same, {', '.join(FORMATS)}")
    return requested


def becomes_animation(wanted: str, source_format: str, frames: int) -> bool:
    """Whether a source is written to ``wanted`` frame by frame: where the format animates and the source does, and
    always where it knows nothing else.
    """
    if not FORMATS[wanted].stands_still:
        return source_format in _SAME_ANIMATED
    return FORMATS[wanted].animates and frames > 1 and source_format in _SAME_ANIMATED


def check_holds(format: str, layout: Layout, *, animated: bool = False) -> None:  # noqa: A002  # the word of the interface
    """Raises FormatCannotHoldError ``format_cannot_hold`` where ``format`` has no room for the picture, or,
    ``animated``, for the frames of this layout.

    Call it before computing: everything it needs is known from the source and the scale.
    """
    problem = _problem(format, layout, animated=animated)
    if problem is None:
        return
    sentence, limit = problem
    others = [name for name in FORMATS if _problem(name, layout, animated=animated) is None]
    advice = f"Choose {' or '.join(others)}." if others else "Choose a smaller scale."
    raise FormatCannotHoldError("format_cannot_hold", f"{sentence} {advice}", limit=limit)


def _problem(format: str, layout: Layout, *, animated: bool) -> tuple[str, int | None] | None:  # noqa: A002
    """Why ``format`` cannot hold ``layout``, and the limit that was passed; None where it can."""
    wanted = FORMATS[format]
    name = "WebP" if format == "webp" else format.upper()
    size = f"{layout.width} x {layout.height}"
    if layout.channels in (2, 4) and not wanted.holds_alpha:
        return f"{name} cannot hold transparency.", None
    if animated and not wanted.animates:
        return f"{name} cannot hold an animation.", None
    if not animated and not wanted.stands_still:
        return f"{name} is written of GIF, PNG and WebP only, frame by frame.", None
    if max(layout.width, layout.height) > wanted.max_edge:
        return f"{name} holds up to {wanted.max_edge:,} px per side, the result has {size}.", wanted.max_edge
    # A frame is held whole whatever the format.
    most = _MAX_WHOLE_PIXELS if animated else wanted.max_pixels
    if most is not None and layout.width * layout.height > most:
        return f"{name} is written up to {most:,} px, the result has {size}.", most
    return None
