"""What several parts' tests need."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from app.imaging.picture import Pixels
from app.inference.engine import Engine
from app.inference.registry import Registry
from tests.models import convolutions, nearest, write_model

# Machines that run tests are busy: how long an example took says nothing about it.
settings.register_profile("chetko", deadline=None)
settings.load_profile("chetko")


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
