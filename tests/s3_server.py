"""The store that tests use: a folder, or with CHETKO_TEST_STORAGE=s3 a bucket."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def storage_url(tmp_path: Path) -> str:
    """The address of an empty store."""
    return (tmp_path / "objects").as_uri()
