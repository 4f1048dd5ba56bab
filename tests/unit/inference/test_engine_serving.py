"""An engine that takes over from another: what is shared, what is loaded, what leaves memory."""

from __future__ import annotations

import dataclasses
import gc
import shutil
import subprocess
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from app.imaging.picture import Picture, Pixels
from app.inference.device import choose_device
from app.inference.engine import Engine
from app.inference.registry import Registry
from app.inference.upscale import upscale
from tests import models

ROOT = Path(__file__).parents[3]


@contextmanager
def engine_of(folder: Path) -> Iterator[Engine]:
    with Engine(Registry.load([folder]), platform="cpu", threads=1) as engine:
        for manifest in engine.registry.models():
            engine.warm(manifest.name, 2)
        yield engine


def test_unchanged_networks_are_shared_and_changed_ones_loaded(tmp_path: Path) -> None:
    models.write_model(tmp_path, "same", scales=(2,))
    models.write_model(tmp_path, "other", models.nearest, scales=(2,))
    with engine_of(tmp_path) as engine:
        kept = {name: engine.graph(engine.registry.find(name, 2), "uint8") for name in ("same", "other")}
        shutil.rmtree(tmp_path / "other")
        models.write_model(tmp_path, "other", models.faded, scales=(2,))
        registry = Registry.load([tmp_path])
        after = engine.serving(registry)
        assert after.graph(registry.find("same", 2), "uint8") is kept["same"]
        black = np.zeros((1, 4, 4, 3), np.uint8)
        assert after.graph(registry.find("other", 2), "uint8").run(black).max() == 64
        assert engine.graph(engine.registry.find("other", 2), "uint8").run(black).max() == 0, "the old one goes on"


def test_a_picture_goes_on_while_its_model_is_exchanged(tmp_path: Path, noise: Pixels) -> None:
    folder = models.write_model(tmp_path, "net", models.nearest, scales=(2,))
    with engine_of(tmp_path) as engine:
        coming = upscale(Picture(noise, None, "png"), engine.registry.find("net", 2), engine, tile=16).bands()
        bands = [next(coming)]
        shutil.rmtree(folder)
        models.write_model(tmp_path, "net", models.faded, scales=(2,))
        after = engine.serving(Registry.load([tmp_path]))
        after.warm("net", 2)
        bands += coming
        np.testing.assert_array_equal(np.concatenate(bands), noise.repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize("half", [False, True])
def test_what_is_gone_leaves_memory_and_the_rest_does_not_hold_it(tmp_path: Path, half: bool) -> None:
    models.write_model(tmp_path, "stays", scales=(2,), fp16=models.not_a_number)
    gone = models.write_model(tmp_path, "gone", scales=(2,), fp16=models.not_a_number)
    engine = Engine(Registry.load([tmp_path]), platform="cpu", threads=1)
    engine.device = dataclasses.replace(choose_device("cpu", 1), half=half)
    engine.warm("gone", 2)
    engine.warm("stays", 2)
    dead = [weakref.ref(engine), weakref.ref(engine.graph(engine.registry.find("gone", 2), "uint8"))]
    alive = weakref.ref(engine.graph(engine.registry.find("stays", 2), "uint8"))
    shutil.rmtree(gone)
    gc.disable()  # by counting references alone: nobody waits for the collector
    try:
        engine = engine.serving(Registry.load([tmp_path]))
        assert [each() for each in dead] == [None, None]
        assert alive() is not None
    finally:
        gc.enable()
        engine.close()


MEASURE = """
import sys
from pathlib import Path

import psutil

from app.inference.engine import Engine
from app.inference.heap import return_freed_memory
from app.inference.registry import Registry

small, big = (Registry.load([Path(folder)]) for folder in sys.argv[1:])
memory = psutil.Process().memory_info
with Engine(small, platform="cpu", threads=1) as engine:
    engine.warm("net", 2)
    return_freed_memory()
    before = memory().rss
    engine = engine.serving(big)
    engine.warm("net", 2)
    loaded = memory().rss
    engine = engine.serving(small)
    return_freed_memory()
    print(loaded - before, memory().rss - before)
"""


def test_the_memory_of_a_model_that_is_gone_goes_back_to_the_system(tmp_path: Path) -> None:
    pytest.importorskip("psutil")
    models.write_model(tmp_path / "small", "net", scales=(2,))
    big = partial(models.convolutions, channels=384, layers=4)
    models.write_model(tmp_path / "big", "net", big, scales=(2,))  # 11 MB, in two files
    # In a process of its own: this one's heap is full of holes that other tests left.
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "small"), str(tmp_path / "big")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    more_while_loaded, more_afterwards = map(int, done.stdout.split())
    assert more_while_loaded > 30 * 2**20
    assert more_afterwards < 15 * 2**20
