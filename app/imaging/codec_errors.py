"""Turns whatever a codec raises on hostile bytes into one error family."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from app.imaging.picture import BrokenPictureError, ImagingError


@contextmanager
def broken_if_fails(part: str) -> Iterator[None]:
    """Anything raised inside, except an ImagingError, becomes BrokenPictureError (code ``broken_picture``).

    Put only calls into codecs inside. Pillow, libvips and the like raise SyntaxError, struct.error,
    OverflowError, IndexError, MemoryError and more on malformed files, so the net has to be wide; the cause
    stays chained. ``part`` names what was being read, e.g. "its header".
    """
    try:
        yield
    except ImagingError:
        raise
    except Exception as error:
        raise BrokenPictureError(
            "broken_picture",
            f"The picture is truncated or damaged ({part}). Open it in an editor and save it again.",
        ) from error
