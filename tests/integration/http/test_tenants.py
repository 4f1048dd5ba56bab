"""Another tenant's key, tried on every route that names something owned: it is told what an id of nothing is told.

The objects are real ones: a finished job with a result and tiles, and a place for an upload. Each refusal is followed
by its owner's own call, which must still succeed: a 404 for everybody would prove nothing.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from redis.asyncio import Redis

from app.api.keys import KeyStore
from app.inference.backend import Backend
from app.inference.engine import Engine
from app.inference.enlarge import enlarge
from app.inference.registry import Registry
from app.jobs import work
from app.storage import open_storage
from tests.integration.http.live import problem
from tests.integration.http.queue import Queued, queued
from tests.integration.http.test_access import NO_SUCH_ID, TABLE
from tests.queue_server import queue_url

OWNED = [call for call in TABLE if "{job_id}" in call[1] or "{upload_id}" in call[1]]
UPLOAD = b"the bytes of a picture"
TILE = {"which": "result", "level": "0", "column": "0", "row": "0"}


@dataclass
class Tenants:
    """A service with two keys, of which ``ann`` owns everything."""

    server: Queued
    keys: dict[str, str]

    def call(self, who: str, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {"X-API-Key": self.keys[who]} | more.pop("headers", {})
        return httpx.request(method, self.server.url + path, headers=headers, timeout=60, **more)

    def job(self, who: str) -> str:
        """A finished job of this key, with tiles."""
        file = io.BytesIO()
        Image.fromarray(np.random.default_rng(1).integers(0, 256, (300, 300, 3), np.uint8)).save(file, "PNG")
        files = {"image": ("cat.png", file.getvalue())}
        headers = {"Prefer": "respond-async", "Cache-Control": "no-cache"}
        answer = self.call(who, "POST", "/v1/upscale?model=nearest&scale=2", files=files, headers=headers)
        assert answer.status_code == 202, answer.text
        told = self.call(who, "GET", answer.json()["links"]["events"]).text
        assert '"state":"succeeded"' in told.rsplit("event: end", 1)[1]
        return str(answer.json()["id"])

    def upload(self, who: str, content: bytes = b"") -> str:
        """A place of this key, with ``content`` if there is any."""
        size = len(content or UPLOAD)
        answer = self.call(who, "POST", "/v1/uploads", json={"name": "a.png", "bytes": size})
        assert answer.status_code == 201, answer.text
        id = str(answer.json()["id"])  # noqa: A001
        if content:
            assert self.call(who, "PUT", f"/v1/uploads/{id}", content=content).status_code in (200, 201, 204)
        return id


def _png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def tenants(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Iterator[Tenants]:
    storage = open_storage(tmp_path_factory.mktemp("store").as_uri())
    engine = Engine(registry, platform="cpu", threads=2)  # the server closes it
    backend = Backend(engine.registry, engine, enlarge)

    first = tmp_path_factory.mktemp("key") / "first"  # without a key the service would not start
    first.write_text("ck_" + "a" * 43)

    async def second(url: str) -> str:
        async with Redis.from_url(url) as client:
            return (await KeyStore(client).create("bob"))[1]

    with (
        pytest.MonkeyPatch.context() as patched,
        queue_url() as url,
        queued(url, storage, backend, allow_anonymous=False, bootstrap_key_file=first) as server,
        server.working(),
    ):
        patched.setattr(work, "WHOLE_PIXELS", 0)
        patched.setattr(work, "TILED_PIXELS", 1000)
        yield Tenants(server, {"ann": first.read_text(), "bob": asyncio.run(second(url))})


def test_there_are_such_routes() -> None:
    assert len(OWNED) >= 9


@pytest.mark.parametrize(("method", "path"), OWNED)
def test_another_tenant_is_told_that_there_is_no_such_thing(tenants: Tenants, method: str, path: str) -> None:
    named = "job_id" if "{job_id}" in path else "upload_id"
    code = {"job_id": "unknown_job", "upload_id": "unknown_upload"}[named]
    content = _png() if path.endswith("/share") else b""  # what is empty cannot be shared
    own = tenants.job("ann") if named == "job_id" else tenants.upload("ann", content)
    more = {"content": UPLOAD} if method == "PUT" else {}

    stranger = tenants.call("bob", method, path.format(**TILE, **{named: own}), **more)
    document = problem(stranger, 404, code)
    nothing = problem(tenants.call("bob", method, path.format(**TILE, **{named: NO_SUCH_ID}), **more), 404, code)
    same = {name: value for name, value in document.items() if name != "request_id"}
    assert same == {name: value for name, value in nothing.items() if name != "request_id"}

    owner = tenants.call("ann", method, path.format(**TILE, **{named: own}), **more)
    assert owner.status_code in (200, 201, 204), owner.text


def test_another_tenants_job_is_not_listed(tenants: Tenants) -> None:
    own = tenants.job("ann")
    assert own in [job["id"] for job in tenants.call("ann", "GET", "/v1/jobs").json()["jobs"]]
    assert tenants.call("bob", "GET", "/v1/jobs").json() == {"jobs": [], "next": None}


def test_another_tenants_upload_is_no_source(tenants: Tenants) -> None:
    own = tenants.upload("ann")
    for source in ({"source": {"upload_id": own}}, {"sources": [{"upload_id": own}]}):
        problem(tenants.call("bob", "POST", "/v1/jobs", json=source), 404, "unknown_upload")
    # Its owner is told what is missing: there is such a place.
    answer = tenants.call("ann", "POST", "/v1/jobs", json={"source": {"upload_id": own}})
    problem(answer, 409, "upload_incomplete")


def test_an_idempotency_key_is_each_tenants_own(tenants: Tenants) -> None:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(2).integers(0, 256, (20, 20, 3), np.uint8)).save(file, "PNG")
    files = {"image": ("cat.png", file.getvalue())}
    headers = {"Prefer": "respond-async", "Idempotency-Key": "the same"}
    made = {
        who: tenants.call(who, "POST", "/v1/upscale?model=nearest&scale=2", files=files, headers=headers).json()["id"]
        for who in ("ann", "bob", "ann")
    }
    assert made["ann"] != made["bob"]
    for who, job in made.items():
        assert tenants.call(who, "GET", f"/v1/jobs/{job}").status_code == 200
    problem(tenants.call("bob", "GET", f"/v1/jobs/{made['ann']}"), 404, "unknown_job")
