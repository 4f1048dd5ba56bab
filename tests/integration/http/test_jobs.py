"""Jobs over HTTP, with a real queue, a real store and real workers."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from app.inference.backend import Backend
from app.inference.engine import Engine
from app.inference.enlarge import enlarge
from app.inference.registry import Registry
from app.storage import open_storage
from tests.integration.http.queue import Queued, queued
from tests.queue_server import queue_url


def png(width: int = 48, height: int = 40, seed: int = 1) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Iterator[Queued]:
    storage = open_storage(tmp_path_factory.mktemp("store").as_uri())
    engine = Engine(registry, platform="cpu", threads=2)  # the server closes it
    with queue_url() as url, queued(url, storage, Backend(engine.registry, engine, enlarge)) as one:
        yield one


@pytest.fixture(scope="module")
def worker(server: Queued) -> Iterator[None]:
    with server.working():
        yield


def upscale(server: Queued, picture: bytes, *, query: str = "model=nearest&scale=2", **headers: str) -> httpx.Response:
    return httpx.post(
        f"{server.url}/v1/upscale?{query}",
        files={"image": ("cat.png", picture)},
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        timeout=60,
    )


def finished(server: Queued, job: dict[str, Any]) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while True:
        document = httpx.get(server.url + job["links"]["self"]).json()
        if document["state"] in ("succeeded", "failed", "cancelled", "expired"):
            return document
        assert time.monotonic() < deadline, document
        time.sleep(0.02)


def test_an_upscale_becomes_a_job_and_a_result(server: Queued, worker: None) -> None:
    picture = png(seed=2)
    answer = upscale(server, picture, Prefer="respond-async")
    assert answer.status_code == 202
    assert answer.headers["preference-applied"] == "respond-async"
    job = answer.json()
    assert answer.headers["location"] == job["links"]["self"] == f"/v1/jobs/{job['id']}"
    assert job["state"] in ("queued", "preparing", "running", "succeeded")
    job = finished(server, job)
    assert job["state"] == "succeeded"
    assert job["options"] == {
        "model": "nearest", "scale": 2, "width": None, "height": None, "fit": None, "format": "same", "quality": None,
        "metadata": "keep", "equalize_colors": None,
    }  # fmt: skip
    result = httpx.get(server.url + job["links"]["result"])
    assert result.headers["content-disposition"] == 'attachment; filename="cat_x2.png"'
    assert result.headers["etag"] == f'"{job["result"]["sha256"]}"'
    assert len(result.content) == job["result"]["bytes"]
    at_once = upscale(server, picture)
    assert at_once.status_code == 200
    with Image.open(io.BytesIO(result.content)) as one, Image.open(io.BytesIO(at_once.content)) as other:
        assert np.array_equal(np.asarray(one), np.asarray(other))
