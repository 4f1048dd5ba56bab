"""Small pictures and multipart bodies for requests."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from tests.integration.http.live import head

BOUNDARY = "chetko-test-boundary"


def png(width: int = 8, height: int = 6, mode: str = "RGB") -> bytes:
    """A smooth picture with some structure."""
    y, x = np.mgrid[0:height, 0:width]
    levels = np.stack([x * 7 % 256, y * 5 % 256, (x + y) * 3 % 256], axis=-1).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(levels).convert(mode).save(file, "PNG")
    return file.getvalue()


def multipart(content: bytes, name: str = "image", filename: str = "photo.png") -> bytes:
    """A whole body with one part."""
    disposition = f'Content-Disposition: form-data; name="{name}"; filename="{filename}"'
    top = f"--{BOUNDARY}\r\n{disposition}\r\nContent-Type: image/png\r\n\r\n"
    return top.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()


def post_head(length: int | None, path: str = "/v1/upscale?scale=2", **headers: str) -> bytes:
    """The head of an upload; without a length it is announced as chunked."""
    given = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    given |= {"Transfer-Encoding": "chunked"} if length is None else {"Content-Length": str(length)}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    return head("POST", path, given)
