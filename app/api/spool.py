"""Temporary files for uploads and results: in memory while small, on disk beyond that."""

from __future__ import annotations

import tempfile
from typing import BinaryIO, cast

IN_MEMORY_BYTES = 1024 * 1024
"""A spool up to this size is kept in memory; what is larger lies in a temporary file without a name."""


def open_spool() -> BinaryIO:
    """An empty spool, to be read and written; closing it removes it."""
    return cast("BinaryIO", tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES))
