"""The name under which a browser or ``curl -OJ`` saves a result."""

from __future__ import annotations

import unicodedata
from urllib.parse import quote


def content_disposition(name: str, *, inline: bool = False) -> str:
    """RFC 6266, to be saved or (``inline``) shown: a plain ASCII name for old clients and, where it differs, the full
    one per RFC 8187."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode("ascii")
    if not plain.split("_x")[0].strip(" ._"):
        plain = "picture_x" + plain.rsplit("_x", 1)[-1]
    value = f'{"inline" if inline else "attachment"}; filename="{plain}"'
    return value if plain == name else f"{value}; filename*=UTF-8''{quote(name, safe='')}"
