"""What several parts' tests need."""

from __future__ import annotations

import functools
import os
import ssl
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import certifi
import numpy as np
import pytest
import redis
from hypothesis import settings

from app.imaging.picture import Pixels
from app.inference.engine import Engine
from app.inference.registry import Registry
from tests.models import convolutions, nearest, write_model
from tests.queue_server import queue_socket

pytest_plugins = ["tests.s3_server"]

STRICT = os.environ.get("CHETKO_TEST_STRICT") == "1"
# What a machine may lack even then. Of onnxruntime's builds only one can be installed: what needs OpenVINO's is run by
# a slow test in an environment of its own.
EXCUSED = ("../shared", "GPU", "CUDA", "onnxruntime-openvino")

# Machines that run tests are busy: how long an example took says nothing about it. A landing must not hang on the
# examples that chance drew: these are looked for at the desk.
settings.register_profile("chetko", deadline=None, derandomize=STRICT)
settings.load_profile("chetko")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With CHETKO_TEST_STRICT=1 a test that skips fails, unless what it misses is EXCUSED."""
    report = yield
    if STRICT and report.skipped and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(word in reason for word in EXCUSED):
            report.outcome = "failed"
            report.longrepr = f"CHETKO_TEST_STRICT=1 allows no skip here: {reason}"
    return report


@pytest.fixture(scope="session", autouse=True)
def certificates_are_read_once() -> Iterator[None]:
    """Each ``httpx.get`` and every new client reads the machine's certificates: 60 ms of a core, a thousand times."""
    made = ssl.create_default_context
    known = {certifi.where(), os.environ.get("SSL_CERT_FILE")} - {None}
    read = functools.cache(made)

    def create(*arguments: Any, cafile: str | None = None, **others: Any) -> ssl.SSLContext:
        if cafile in known and not arguments and not others:
            return read(cafile=cafile)
        return made(*arguments, cafile=cafile, **others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", create)
        yield


@pytest.fixture(scope="session")
def models_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models: ``net`` (the default; random convolutions, halo 3) and ``nearest`` (repeats pixels)."""
    folder = tmp_path_factory.mktemp("models")
    write_model(folder, "net", convolutions, halo=3, default=True)
    write_model(folder, "nearest", nearest)
    return folder


@pytest.fixture(scope="session")
def registry(models_folder: Path) -> Registry:
    return Registry.load([models_folder])


@pytest.fixture(scope="session")
def engine(registry: Registry) -> Iterator[Engine]:
    """An engine on the CPU, for all tests that do not change it."""
    with Engine(registry, platform="cpu", threads=2) as engine:
        yield engine


@pytest.fixture
def noise() -> Pixels:
    """61 x 83 px of RGB noise: no size that divides anything."""
    return np.random.default_rng(7).integers(0, 256, (61, 83, 3), np.uint8)


@pytest.fixture(scope="session")
def queue_server() -> Iterator[Path]:
    """The socket of one queue server for all tests that need any."""
    with queue_socket() as socket:
        yield socket


@pytest.fixture
def queue(queue_server: Path) -> Path:
    """The socket of an empty queue server."""
    with redis.Redis(unix_socket_path=str(queue_server)) as client:
        client.flushall()
    return queue_server
