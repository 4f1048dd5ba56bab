"""Names of stored objects."""

from __future__ import annotations

import re

MAX_BYTES = 512
"""Longest key."""
_SEGMENT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")


def check_key(key: str) -> str:
    """The key itself, if it may name an object; else raises ValueError.

    Guaranteed of every key that passes: segments of letters, digits and ``._-``, separated by single slashes, none of
    which begins with a dot. So no key leaves its folder, hides in it, or needs quoting in an address.
    """
    if len(key) > MAX_BYTES or not all(_SEGMENT.fullmatch(segment) for segment in key.split("/")):
        raise ValueError(
            f"a key has segments of letters, digits, '.', '_' and '-', none beginning with a dot, not {key!r}"
        )
    return key


def check_prefix(prefix: str) -> str:
    """The same for the beginning of keys, without its last slash; "" is the beginning of every key."""
    return check_key(prefix) if prefix else prefix
