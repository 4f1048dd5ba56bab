"""From an address to a store."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from app.storage.interface import Storage
from app.storage.local import LocalStorage


def check_storage_url(url: str) -> str:
    """The address itself, if a store can be made of it; else raises ValueError with what it should be."""
    parts = urlsplit(url)
    plain = not parts.query and not parts.fragment and "@" not in parts.netloc
    if parts.scheme == "file" and parts.netloc in {"", "localhost"} and parts.path.startswith("/") and plain:
        return url
    raise ValueError(f"must be file:///folder, not {url!r}")


def open_storage(url: str, *, min_free_bytes: int = 0) -> Storage:
    """The store at ``file:///folder``, which is made if it is missing.

    ``min_free_bytes`` of its disk stay free: below that a local folder counts as full.
    Raises ValueError for an address that is none, StorageError if the folder cannot be made.
    """
    parts = urlsplit(check_storage_url(url))
    return LocalStorage(Path(unquote(parts.path)), min_free_bytes=min_free_bytes)
