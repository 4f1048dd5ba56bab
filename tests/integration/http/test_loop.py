"""Nothing blocks an event loop: no codec, no hash of a large body and no model runs in a thread that has one."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import io
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime
import pytest
from PIL import Image

from app.inference.backend import Backend
from app.inference.engine import Engine
from app.inference.enlarge import enlarge
from app.inference.registry import Registry
from app.storage import open_storage
from tests.integration.http.queue import Queued, queued
from tests.queue_server import queue_url

LARGE = 64 * 1024
"""Bytes: hashing fewer takes less than a tenth of a millisecond."""


class Watch:
    """Counts what was done, and what of it was done in a thread whose event loop runs."""

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()
        self.on_a_loop: Counter[str] = Counter()

    def note(self, what: str) -> None:
        self.done[what] += 1
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return
        self.on_a_loop[what] += 1

    def watched(self, what: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            self.note(what)
            return function(*arguments, **named)

        return call


class WatchedHash:
    """A hash that tells of large updates."""

    def __init__(self, watch: Watch, made: Any) -> None:
        self._watch, self._made = watch, made

    def update(self, data: Any) -> None:
        if len(data) >= LARGE:
            self._watch.note("hash")
        self._made.update(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._made, name)


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    one = Watch()
    monkeypatch.setattr(Image, "open", one.watched("decode", Image.open))
    monkeypatch.setattr(Image.Image, "load", one.watched("decode", Image.Image.load))
    monkeypatch.setattr(Image.Image, "save", one.watched("encode", Image.Image.save))
    for name in ("run", "run_with_iobinding"):
        session = onnxruntime.InferenceSession
        monkeypatch.setattr(session, name, one.watched("model", getattr(session, name)))
    original = hashlib.sha256

    def sha256(data: bytes = b"", **named: Any) -> Any:
        if len(data) >= LARGE:
            one.note("hash")
        return WatchedHash(one, original(data, **named))

    monkeypatch.setattr(hashlib, "sha256", sha256)
    return one


@pytest.fixture
def server(tmp_path: Path, registry: Registry, watch: Watch) -> Iterator[Queued]:
    engine = Engine(registry, platform="cpu", threads=1)  # the server closes it
    backend = Backend(engine.registry, engine, enlarge)
    with queue_url() as url, queued(url, open_storage((tmp_path / "store").as_uri()), backend) as one:
        yield one


def noise(edge: int, form: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(3).integers(0, 256, (edge, edge, 3), np.uint8)).save(file, form)
    return file.getvalue()


def test_what_takes_time_is_done_in_threads_of_its_own(server: Queued, watch: Watch) -> None:
    jpeg, png = noise(500, "JPEG"), noise(600, "PNG")
    watch.done.clear()
    with httpx.Client(base_url=server.url, timeout=120) as client, server.working():
        ask = "/v1/upscale?scale=2&model=nearest"
        for form in ("jpeg", "webp"):
            client.post(f"{ask}&format={form}", files={"image": jpeg}).raise_for_status()
        waiting = client.post(ask, files={"image": png}, headers={"Prefer": "wait=100"})
        assert waiting.status_code == 200
        place = client.post("/v1/uploads", json={"name": "a.png", "bytes": len(png)}).json()["put_url"]
        client.put(place, content=png).raise_for_status()
        client.post(f"{place}/share").raise_for_status()
        client.post("/v1/evaluations?scale=2&models=nearest", files={"image": noise(200, "PNG")}).raise_for_status()
        job = client.post(ask, files={"image": jpeg}, headers={"Prefer": "respond-async"}).json()["links"]
        while client.get(job["self"]).json()["state"] != "succeeded":
            time.sleep(0.05)
        client.get(job["result"]).raise_for_status()
    assert set(watch.done) == {"decode", "encode", "model", "hash"}, "each was seen"
    assert not watch.on_a_loop, watch.on_a_loop
