"""What results are called: safe on every system, whatever the client called its picture."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

MAX_STEM = 80
"""Characters kept of the given name."""
_MAX_BYTES = 200
"""And bytes, in UTF-8: with factor, extension and number below the 255 bytes of common file systems."""

_UNSAFE = re.compile(r'[<>:"/\\|?*%;\x00-\x1f\x7f]')


def result_name(given: str | None, scale: float, extension: str) -> str:
    """``holiday/photo.JPG`` at 4x as png -> ``photo_x4.png``; never a path, a control character or a hidden
    file.
    """
    return f"{_stem(given)}_x{scale:.3g}.{extension.lstrip('.')}"


def picture_name(given: str | None, extension: str) -> str:
    """``holiday/strip.PNG`` -> ``strip.png``, with the guarantees of ``result_name``."""
    return f"{_stem(given)}.{extension.lstrip('.')}"


def _stem(given: str | None) -> str:
    base = re.split(r"[/\\]", given or "")[-1]
    stem = base.rsplit(".", 1)[0] if "." in base.lstrip(".") else base
    visible = "".join(
        character for character in unicodedata.normalize("NFC", stem)
        if unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
    )  # fmt: skip
    short = _UNSAFE.sub("_", visible).strip(" .")[:MAX_STEM].encode()[:_MAX_BYTES].decode(errors="ignore")
    clean = short.rstrip(" .")
    return clean or "picture"


def distinct(names: Iterable[str]) -> list[str]:
    """The names in their order, made different where two are the same (also where only case differs, which some
    systems ignore): ``cat_x4.png``, ``cat_x4 (2).png``."""
    taken: set[str] = set()
    made = []
    for name in names:
        stem, _, extension = name.rpartition(".")
        number, candidate = 1, name
        while candidate.casefold() in taken:
            number += 1
            candidate = f"{stem} ({number}).{extension}"
        taken.add(candidate.casefold())
        made.append(candidate)
    return made
