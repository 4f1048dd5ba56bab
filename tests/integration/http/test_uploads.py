"""Places for large files: asked for, filled, refused, removed."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from redis.asyncio import Redis

from app.api.keys import KeyLimits, KeyStore
from app.api.problems import Problem
from app.api.upload_store import UploadStore
from app.api.uploads import upload_for_job
from tests.integration.http.live import Computing, Live, head, live, problem
from tests.integration.http.pictures import png
from tests.queue_server import queue_socket


@dataclass
class Place:
    """A service with keys on and a store."""

    server: Live
    queue: Path
    store: Path
    keys: dict[str, str]

    def client(self, name: str = "one") -> httpx.Client:
        return httpx.Client(base_url=self.server.url, headers={"X-API-Key": self.keys[name]}, timeout=30)

    def files(self) -> list[Path]:
        return sorted(path for path in self.store.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    store = tmp_path_factory.mktemp("store")

    async def make(queue: Path) -> dict[str, str]:
        async with Redis(unix_socket_path=str(queue)) as client:
            keys = KeyStore(client)
            return {
                "one": (await keys.create("one"))[1],
                "two": (await keys.create("two"))[1],
                "small": (await keys.create("small", limits=KeyLimits(storage_mb=1)))[1],
                "few": (await keys.create("few", limits=KeyLimits(max_jobs=2)))[1],
            }

    with queue_socket() as queue:
        names = asyncio.run(make(queue))
        with live(Computing(), queue=queue, store=store, allow_anonymous=False, max_upload_bytes=5_000_000) as server:
            yield Place(server, queue, store, names)


def new(client: httpx.Client, size: int, name: str = "a.png") -> dict[str, Any]:
    answer = client.post("/v1/uploads", json={"name": name, "bytes": size})
    assert answer.status_code == 201, answer.text
    document: dict[str, Any] = answer.json()
    assert answer.headers["location"] == document["put_url"] == f"/v1/uploads/{document['id']}"
    return document


def test_a_file_is_put_and_removed(place: Place) -> None:
    content = bytes(range(256)) * 12_000
    with place.client() as client:
        upload = new(client, len(content))
        assert client.put(upload["put_url"], content=content).status_code == 204
        stored = [path for path in place.files() if path.name == upload["id"]]
        assert [path.read_bytes() for path in stored] == [content]
        # Sent again, it is replaced as a whole.
        assert client.put(upload["put_url"], content=content[::-1]).status_code == 204
        assert stored[0].read_bytes() == content[::-1]
        assert client.delete(upload["put_url"]).status_code == 204
        assert not stored[0].exists()
        problem(client.delete(upload["put_url"]), 404, "unknown_upload")
        problem(client.put(upload["put_url"], content=content), 404, "unknown_upload")


def test_what_belongs_to_one_key_is_invisible_to_another(place: Place) -> None:
    with place.client("one") as one, place.client("two") as two:
        upload = new(one, 4)
        problem(two.put(upload["put_url"], content=b"evil"), 404, "unknown_upload")
        problem(two.delete(upload["put_url"]), 404, "unknown_upload")
        assert one.put(upload["put_url"], content=b"mine").status_code == 204
        assert one.delete(upload["put_url"]).status_code == 204


@pytest.mark.parametrize(
    ("content", "status", "code"), [(b"abc", 400, "body_incomplete"), (b"abcde", 413, "body_too_large")]
)
def test_another_size_than_announced_is_refused(place: Place, content: bytes, status: int, code: str) -> None:
    with place.client() as client:
        upload = new(client, 4)
        problem(client.put(upload["put_url"], content=content), status, code)
        problem(client.put(upload["put_url"], content=iter([content])), status, code)  # chunked, without a length
        assert not [path for path in place.files() if upload["id"] in path.name]
        assert client.delete(upload["put_url"]).status_code == 204


def test_an_upload_that_breaks_off_leaves_nothing(place: Place) -> None:
    with place.client() as client:
        upload = new(client, 3_000_000)
        before = place.files()
        given = {"Content-Length": "3000000", "X-API-Key": place.keys["one"]}
        with socket.create_connection((place.server.host, place.server.port)) as connection:
            connection.sendall(head("PUT", upload["put_url"], given) + b"x" * 2_000_000)
            place.server.wait_until(lambda: place.server.service.admission.uploads == 1)
        place.server.wait_until(lambda: place.server.service.admission.uploads == 0)
        place.server.wait_until(lambda: place.files() == before)
        assert client.delete(upload["put_url"]).status_code == 204


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"name": "a", "bytes": 0}, 422, "invalid_body"),
        ({"name": "", "bytes": 1}, 422, "invalid_body"),
        ({"name": "a"}, 422, "invalid_body"),
        ({"name": "a", "bytes": 1, "more": 1}, 422, "invalid_body"),
        ({"name": "a", "bytes": 5_000_001}, 413, "body_too_large"),
    ],
)
def test_a_place_that_makes_no_sense_is_refused(place: Place, body: dict[str, Any], status: int, code: str) -> None:
    with place.client() as client:
        problem(client.post("/v1/uploads", json=body), status, code)


def test_multipart_and_encodings_are_refused_with_what_to_do(place: Place) -> None:
    with place.client() as client:
        upload = new(client, 4)
        answer = client.put(upload["put_url"], files={"image": b"abcd"})
        assert "curl -T" in problem(answer, 415, "multipart_not_taken")["detail"]
        answer = client.put(upload["put_url"], content=b"abcd", headers={"Content-Encoding": "gzip"})
        problem(answer, 415, "content_encoding")


def test_storage_of_a_key_is_bounded_and_given_back(place: Place) -> None:
    with place.client("small") as small:
        first = new(small, 700_000)
        answer = small.post("/v1/uploads", json={"name": "b", "bytes": 700_000})
        assert problem(answer, 429, "quota_exceeded")["limit"] == 1024 * 1024
        assert small.delete(first["put_url"]).status_code == 204
        assert small.delete(new(small, 700_000)["put_url"]).status_code == 204


def send(client: httpx.Client, picture: bytes) -> httpx.Response:
    headers = {"Prefer": "respond-async", "Cache-Control": "no-cache"}
    return client.post("/v1/upscale?scale=2", files={"image": ("a.png", picture)}, headers=headers)


def test_jobs_and_uploads_share_the_storage_of_a_key(place: Place) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (500, 450, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    picture = file.getvalue()
    assert 600_000 < len(picture) < 700_000
    with place.client("small") as small:
        job = send(small, picture)
        assert job.status_code == 202, job.text
        stored = place.files()
        assert problem(send(small, picture), 429, "quota_exceeded")["limit"] == 1024 * 1024
        assert place.files() == stored
        problem(small.post("/v1/uploads", json={"name": "b", "bytes": 500_000}), 429, "quota_exceeded")
        upload = new(small, 300_000)
        assert small.delete(job.headers["location"]).status_code == 204
        upload_too = new(small, 700_000)
        problem(send(small, picture), 429, "quota_exceeded")
        for each in (upload, upload_too):
            assert small.delete(each["put_url"]).status_code == 204
        job = send(small, picture)
        assert job.status_code == 202
        assert small.delete(job.headers["location"]).status_code == 204


def test_unfinished_jobs_of_a_key_are_bounded(place: Place) -> None:
    with place.client("few") as few, place.client("one") as one:
        jobs = [send(few, png()) for _ in range(2)]
        assert [job.status_code for job in jobs] == [202, 202]
        answer = send(few, png())
        assert problem(answer, 429, "quota_exceeded")["limit"] == 2
        assert answer.headers["retry-after"] == "5"
        source = {"source": {"base64": base64.b64encode(png()).decode()}, "options": {"scale": 2}}
        problem(few.post("/v1/jobs", json=source, headers={"Cache-Control": "no-cache"}), 429, "quota_exceeded")
        others = send(one, png())
        assert others.status_code == 202
        assert few.delete(jobs[0].headers["location"]).status_code == 204
        jobs[0] = send(few, png())
        assert jobs[0].status_code == 202
        for job in jobs:
            assert few.delete(job.headers["location"]).status_code == 204
        assert one.delete(others.headers["location"]).status_code == 204


def test_a_job_takes_a_complete_upload_only_and_then_it_stays(place: Place) -> None:
    with place.client() as client:
        upload = new(client, 4, "../cat.png")

        async def take() -> Any:
            service = place.server.service
            async with Redis(unix_socket_path=str(place.queue)) as redis:
                assert service.storage is not None
                store = UploadStore(redis, service.storage, seconds=60)
                owner = (await KeyStore(redis).find(place.keys["one"])).id  # type: ignore[union-attr]
                fake: Any = type("Fake", (), {"uploads": store})
                caller: Any = type("Fake", (), {"owner": owner})
                return await upload_for_job(fake, caller, upload["id"], time.time() + 7200)

        with pytest.raises(Problem) as refused:
            asyncio.run(take())
        assert refused.value.code == "upload_incomplete"
        assert client.put(upload["put_url"], content=b"abcd").status_code == 204
        taken = asyncio.run(take())
        assert (taken.key, taken.name, taken.bytes) == (f"uploads/{upload['id']}", "../cat.png", 4)
        assert taken.sha256 == hashlib.sha256(b"abcd").hexdigest()
        assert taken.expires > time.time() + 7000
        problem(client.put(upload["put_url"], content=b"abcd"), 409, "upload_in_use")
        problem(client.delete(upload["put_url"]), 409, "upload_in_use")


def test_what_has_expired_is_swept(place: Place) -> None:
    async def work() -> None:
        storage = place.server.service.storage
        assert storage is not None
        async with Redis(unix_socket_path=str(place.queue)) as redis:
            store = UploadStore(redis, storage, seconds=0.01)
            upload = await store.open("owner", "a", 3, None, 10)
            assert upload is not None
            storage.put(upload.key, b"abc")
            lasting = UploadStore(redis, storage, seconds=600)
            kept = await lasting.open("owner", "b", 3, None, 10)
            assert kept is not None
            storage.put(kept.key, b"abc")
            await asyncio.sleep(0.05)
            assert await store.find(upload.id, "owner") is None
            await store.sweep(asyncio.to_thread)
            assert not storage.exists(upload.key)
            assert storage.exists(kept.key)
            # What has gone no longer counts.
            assert await lasting.open("owner", "c", 7, None, 10) is not None
            assert await lasting.open("owner", "d", 1, None, 10) is None

    asyncio.run(work())


def test_a_full_store_is_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from app.storage import StorageError

    def full(key: str) -> Any:
        raise StorageError("storage_full", "/secret/folder is full")

    with place.client() as client:
        upload = new(client, 4)
        monkeypatch.setattr(place.server.service.storage, "writer", full)
        answer = client.put(upload["put_url"], content=b"abcd")
        assert "secret" not in problem(answer, 503, "storage_full")["detail"]


def test_without_a_queue_server_there_are_no_uploads() -> None:
    with live(Computing()) as server:
        problem(httpx.post(f"{server.url}/v1/uploads", json={"name": "a", "bytes": 1}), 503, "queue_unavailable")
