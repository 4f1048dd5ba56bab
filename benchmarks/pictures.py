"""Pictures to measure with: the example photo, in any size."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
BOUNDARY = "chetko-benchmark"


def photo(width: int, height: int) -> Image.Image:
    """The example photo's central ``width`` x ``height``; beyond its borders it goes on mirrored.

    Never resized: an enlarged photo is smoother than one from a camera, and encoders would have less to do.
    """
    image = np.asarray(Image.open(ROOT / "app/web/examples/dog.jpg").convert("RGB"))
    for axis, length in enumerate((height, width)):
        size = image.shape[axis]
        missing = max(0, length - size)
        margins = [(0, 0)] * 3
        margins[axis] = (missing // 2, missing - missing // 2)
        image = np.pad(image, margins, mode="symmetric")
        first = (image.shape[axis] - length) // 2
        image = np.take(image, range(first, first + length), axis)
    return Image.fromarray(image)


def file_of(image: Image.Image, kind: str) -> bytes:
    """``image`` as the bytes of a file of Pillow's ``kind``; a JPEG has quality 92."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"quality": 92} if kind == "jpeg" else {}))
    return buffer.getvalue()


def body_of(picture: bytes) -> bytes:
    """The multipart body that sends a picture's bytes, cut at BOUNDARY."""
    disposition = 'Content-Disposition: form-data; name="image"; filename="benchmark"'
    head = f"--{BOUNDARY}\r\n{disposition}\r\n\r\n".encode()
    return head + picture + f"\r\n--{BOUNDARY}--\r\n".encode()
