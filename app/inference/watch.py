"""Sees that models were put into, changed in or taken out of their folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

Contents = frozenset[tuple[str, int, int, int]]
"""Path, inode, size in bytes and time of change in nanoseconds of every file that may belong to a model."""


def contents(folders: Sequence[Path]) -> Contents:
    """What lies in ``FOLDER/NAME/`` of the given folders, for comparison; no file is opened.

    Two equal answers guarantee nothing about a file that was rewritten within one tick of the file system's clock at
    the same inode and size; ``chetko-export`` and everything else that renames a finished file into its place gives
    it a new inode. Names that start with ``_`` or ``.`` are left out, as ``Registry.load`` does. What vanishes while
    this looks, folders included, counts as not there.
    """
    found: set[tuple[str, int, int, int]] = set()
    for place in folders:
        for model in _listed(place):
            for file in (model, *_listed(model)):
                try:
                    seen = file.stat()
                except OSError:
                    continue
                found.add((str(file), seen.st_ino, seen.st_size, seen.st_mtime_ns))
    return frozenset(found)


def _listed(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if not path.name.startswith(("_", "."))]
    except OSError:
        return []


class ModelWatch:
    """Says when models are to be read again: their folders changed, and then stood still from one look to the next,
    so that a model is not read while it is being copied."""

    def __init__(self, folders: Sequence[Path]) -> None:
        """Takes what lies there now for what is known: to be made before the models are read."""
        self._folders = tuple(folders)
        self._known = self._seen = contents(self._folders)

    def changed(self) -> bool:
        """One look. True once per change; whether reading the models then succeeds is the caller's affair."""
        now = contents(self._folders)
        still = now == self._seen
        self._seen = now
        if not still or now == self._known:
            return False
        self._known = now
        return True

    def look(self) -> None:
        """The models are about to be read, whoever said so: what lies there now is known."""
        self._known = self._seen = contents(self._folders)
