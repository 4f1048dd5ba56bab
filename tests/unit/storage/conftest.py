"""The store under test: a folder, or with CHETKO_TEST_STORAGE=s3 a bucket whose server checks signatures."""

from __future__ import annotations

import pytest

from app.storage import Storage, open_storage


@pytest.fixture
def store(storage_url: str) -> Storage:
    return open_storage(storage_url)
