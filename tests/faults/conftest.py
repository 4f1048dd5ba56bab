"""Everything in this folder hurts a running service; it takes minutes and belongs to ``make faults``."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.faults)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(1200))


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder with a short name (sockets end at 107 bytes), gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="chetko-faults-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)
