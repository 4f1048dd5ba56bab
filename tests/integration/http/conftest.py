"""One real server for all tests that only ask it something."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.http.live import RealServer, real_server


@pytest.fixture(scope="session")
def chetko() -> Iterator[RealServer]:
    with real_server() as server:
        yield server
