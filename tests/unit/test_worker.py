"""The worker's models: followed while it works."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app.settings import Settings
from app.worker import FollowedBackend
from tests.models import convolutions, nearest, write_model


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not happen"
        time.sleep(0.02)


def names(backend: FollowedBackend) -> set[str]:
    return {manifest.name for manifest in backend.engine.registry.models()}


@pytest.fixture(autouse=True)
def _hang_up_as_before() -> object:
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


def test_a_worker_follows_its_models_and_keeps_them_when_they_break(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_model(tmp_path, "own", nearest)
    backend = FollowedBackend(Settings(models_dir=tmp_path, models_poll_seconds=0.1, platform="cpu", threads=1))
    try:
        with backend.followed():
            first = backend.engine
            assert "own" in names(backend)
            write_model(tmp_path, "second", convolutions, halo=3)
            wait_until(lambda: "second" in names(backend))
            assert first is not backend.engine, "what began with the first goes on with it"
            (tmp_path / "second" / "manifest.json").write_text("{}")
            wait_until(lambda: "those that are loaded stay" in caplog.text)
            assert "second" in names(backend)
    finally:
        backend.close()


def test_a_hang_up_has_them_read_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    backend = FollowedBackend(Settings(models_dir=tmp_path, models_poll_seconds=0, platform="cpu", threads=1))
    try:
        with caplog.at_level(logging.INFO), backend.followed():
            write_model(tmp_path, "own", nearest)
            os.kill(os.getpid(), signal.SIGHUP)
            wait_until(lambda: "own" in names(backend))
    finally:
        backend.close()
