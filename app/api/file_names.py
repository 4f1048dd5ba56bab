"""The name under which a browser or ``curl -OJ`` saves a result."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote

MAX_STEM = 80
"""Characters kept of the given name; well below the 255 bytes of common file systems, whatever the script."""

_UNSAFE = re.compile(r'[<>:"/\\|?*%;\x00-\x1f\x7f]')


def result_name(given: str | None, scale: int, extension: str) -> str:
    """``holiday/photo.JPG`` at 4x as png -> ``photo_x4.png``; never a path, a control character or a hidden
    file.
    """
    base = re.split(r"[/\\]", given or "")[-1]
    stem = base.rsplit(".", 1)[0] if "." in base.lstrip(".") else base
    visible = "".join(
        character for character in unicodedata.normalize("NFC", stem)
        if unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
    )  # fmt: skip
    clean = _UNSAFE.sub("_", visible).strip(" .")[:MAX_STEM].rstrip(" .")
    return f"{clean or 'picture'}_x{scale}.{extension.lstrip('.')}"


def content_disposition(name: str, *, inline: bool = False) -> str:
    """RFC 6266, to be saved or (``inline``) shown: a plain ASCII name for old clients and, where it differs, the full
    one per RFC 8187."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode("ascii")
    if not plain.split("_x")[0].strip(" ._"):
        plain = "picture_x" + plain.rsplit("_x", 1)[-1]
    value = f'{"inline" if inline else "attachment"}; filename="{plain}"'
    return value if plain == name else f"{value}; filename*=UTF-8''{quote(name, safe='')}"
