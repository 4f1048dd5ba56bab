"""Jobs over HTTP, with a real queue, a real store and real workers."""

from __future__ import annotations

import base64
import io
import json
import socket
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, BinaryIO

import httpx
import numpy as np
import pytest
from PIL import Image

from app.imaging import header
from app.imaging.header import Header, read_header
from app.inference.backend import Backend
from app.inference.engine import Engine
from app.inference.enlarge import enlarge
from app.inference.registry import Registry
from app.jobs import work
from app.storage import StorageError, open_storage
from tests.integration.http.live import head, problem
from tests.integration.http.queue import Queued, queued
from tests.queue_server import queue_server, queue_url


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


@pytest.fixture
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


def test_the_header_of_a_small_picture_is_read_once(server: Queued, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    def counted(file: BinaryIO) -> Header:
        read.append(file)
        return read_header(file)

    monkeypatch.setattr(header, "read_header", counted)  # each time costs a way to a decoding process and back
    answer = upscale(server, png(seed=60))
    assert (answer.status_code, len(read)) == (200, 1)


def test_waiting_for_the_result_of_a_job(server: Queued, worker: None) -> None:
    answer = upscale(server, png(seed=3), Prefer="wait=60")
    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait=60"
    assert answer.headers["content-type"] == "image/png"
    at = answer.headers["content-location"]
    assert httpx.get(server.url + at).content == answer.content
    job = httpx.get(server.url + at.rsplit("/", 1)[0]).json()
    assert job["result"]["bytes"] == len(answer.content)
    assert answer.headers["x-chetko-model"] == "nearest/x2@1.0.0"


def test_a_wait_that_is_too_short_ends_in_202(server: Queued) -> None:
    answer = upscale(server, png(seed=4), Prefer="wait=0")
    assert answer.status_code == 202
    assert httpx.delete(server.url + answer.headers["location"]).status_code == 204


def test_a_failure_is_told_to_whoever_waited(server: Queued, worker: None) -> None:
    broken = png(300, 300, seed=5)[:-2000]
    problem(upscale(server, broken, Prefer="wait=60"), 422, "broken_picture")
    job = finished(server, upscale(server, broken, Prefer="respond-async").json())
    assert (job["state"], job["error"]["code"], job["result"]) == ("failed", "broken_picture", None)
    problem(httpx.get(server.url + job["links"]["result"]), 409, "job_failed")


def test_a_key_makes_one_job(server: Queued, worker: None) -> None:
    first = upscale(server, png(seed=6), Idempotency_Key="once", Prefer="respond-async")
    again = upscale(server, png(seed=6), Idempotency_Key="once", Prefer="respond-async")
    assert first.status_code == 202
    assert again.json()["id"] == first.json()["id"]
    problem(upscale(server, png(seed=7), Idempotency_Key="once"), 422, "idempotency_conflict")
    problem(
        upscale(server, png(seed=6), query="model=nearest&scale=2&format=webp", Idempotency_Key="once"),
        422,
        "idempotency_conflict",
    )
    # Who asks for nothing else gets the picture.
    assert upscale(server, png(seed=6), Idempotency_Key="once").status_code == 200
    problem(upscale(server, png(), Idempotency_Key="x" * 256), 422, "invalid_option")


def test_a_key_whose_first_request_is_being_received_is_busy(server: Queued) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\n'
    headers = {
        "Content-Type": "multipart/form-data; boundary=b",
        "Content-Length": "100000",
        "Idempotency-Key": "slow",
    }
    with socket.create_connection((server.live.host, server.live.port)) as first:
        first.sendall(head("POST", "/v1/upscale", headers) + body)
        server.live.wait_until(lambda: server.live.service.admission.uploads == 1)
        answer = upscale(server, png(), Idempotency_Key="slow")
        problem(answer, 409, "idempotency_in_progress")
        assert answer.headers["retry-after"] == "2"
    server.live.wait_until(lambda: server.live.service.admission.uploads == 0)
    deadline = time.monotonic() + 20
    while (answer := upscale(server, png(seed=8), Idempotency_Key="slow", Prefer="respond-async")).status_code == 409:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert answer.status_code == 202


def test_a_job_in_json(server: Queued, worker: None) -> None:
    picture = png(seed=10)
    answer = httpx.post(
        f"{server.url}/v1/jobs",
        json={
            "source": {"base64": base64.b64encode(picture).decode(), "name": "dog.png"},
            "options": {"model": "nearest", "scale": 2, "format": "webp"},
            "priority": "batch",
        },
    )
    assert answer.status_code == 202, answer.text
    job = finished(server, answer.json())
    assert job["sources"] == [
        {"name": "dog.png", "width": 48, "height": 40, "bytes": len(picture), "media_type": "image/png"}
    ]
    assert (job["result"]["media_type"], job["result"]["name"]) == ("image/webp", "dog_x2.webp")


def test_several_pictures_in_json(server: Queued, worker: None) -> None:
    sources = [{"base64": base64.b64encode(png(seed=seed)).decode(), "name": "a.png"} for seed in (11, 12)]
    answer = httpx.post(f"{server.url}/v1/jobs", json={"sources": sources, "options": {"model": "nearest", "scale": 2}})
    job = finished(server, answer.json())
    assert job["state"] == "succeeded", job
    result = httpx.get(server.url + job["links"]["result"])
    assert result.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(result.content)) as archive:
        assert archive.namelist() == ["a_x2.png", "a_x2 (2).png"]


HOSTILE_NAMES = [
    "../../x.png", "..\\..\\x.png", "/etc/passwd", "C:\\Windows\\system32\\evil.png", "C:evil.png",
    "\\\\host\\share\\a.png",
    "a\0.png", "\0", "", "..", ".", "...", ".bashrc", "a/../../b.png", "x.png/", "CON.png", "nul", "COM1.txt",
    "cat.png", "cat.png", "CAT.png", "cat (2).png", "cat_x2 (2).png", "🐈‍⬛.png", "𝕏.png", "e\u0301.png", "é.png",
    "\u202egnp.exe", "a\r\nX: y.png", " . ", "n" * 255, "🐈" * 255, "%2e%2e%2fx.png", "a:b.png", "-rf.png", "~", None,
]  # fmt: skip


def test_no_name_leads_out_of_the_folder_that_a_zip_is_unpacked_in(
    server: Queued, worker: None, tmp_path: Path
) -> None:
    # Each of its own width, so that each can be found again.
    sources = [
        {
            "base64": base64.b64encode(png(5 + number, 4, seed=number)).decode(),
            **({"name": name} if name is not None else {}),
        }
        for number, name in enumerate(HOSTILE_NAMES)
    ]
    answer = httpx.post(f"{server.url}/v1/jobs", json={"sources": sources, "options": {"model": "nearest", "scale": 2}})
    assert answer.status_code == 202, answer.text
    job = finished(server, answer.json())
    assert job["state"] == "succeeded", job
    assert job["result"]["name"].endswith(".zip")
    result = httpx.get(server.url + job["links"]["result"])
    folder = tmp_path / "unpacked"
    folder.mkdir()
    with zipfile.ZipFile(io.BytesIO(result.content)) as archive:
        assert archive.testzip() is None
        entries = archive.infolist()
        assert len(entries) == len(HOSTILE_NAMES)
        for number, entry in enumerate(entries):
            name = entry.orig_filename  # as it stands in the file: ``filename`` ends at a NUL
            assert name == entry.filename
            assert name == PurePosixPath(name).name == PureWindowsPath(name).name, "it has a folder or a drive"
            assert not PureWindowsPath(name).is_reserved()
            assert not name.startswith(".")
            assert name.isprintable()
            assert len(name.encode()) <= 255
            assert not entry.is_dir()
            assert entry.external_attr >> 16 & 0o170000 in (0, 0o100000), "a link, or something not plain"
            # Not by extractall, which mends names itself: as the most careless program would.
            path = folder / name
            assert path.resolve().parent == folder.resolve()
            with path.open("xb") as file:
                file.write(archive.read(entry))
            with Image.open(path) as picture:
                assert picture.size == (2 * (5 + number), 8), name
    assert len({each.name.casefold() for each in folder.iterdir()}) == len(HOSTILE_NAMES)
    assert list(tmp_path.iterdir()) == [folder]


def test_an_upload_becomes_a_job(server: Queued, worker: None) -> None:
    picture = png(seed=13)
    place = httpx.post(f"{server.url}/v1/uploads", json={"name": "big.png", "bytes": len(picture)}).json()
    assert httpx.put(server.url + place["put_url"], content=picture).status_code == 204
    answer = httpx.post(
        f"{server.url}/v1/jobs",
        json={"source": {"upload_id": place["id"]}, "options": {"model": "nearest", "scale": 2}},
    )
    job = finished(server, answer.json())
    assert (job["state"], job["result"]["name"]) == ("succeeded", "big_x2.png")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 422, "invalid_body"),
        ({"source": {}}, 422, "invalid_body"),
        ({"source": {"base64": "?"}}, 422, "invalid_body"),
        ({"source": {"base64": "AAAA"}}, 415, "unsupported_format"),
        ({"source": {"upload_id": "up_none"}}, 404, "unknown_upload"),
        ({"source": {"base64": "AAAA"}, "webhook_url": "https://example.org"}, 422, "invalid_body"),
        ({"source": {"base64": "AAAA"}, "options": {"model": "none"}}, 422, "unknown_model"),
        ({"source": {"url": "http://127.0.0.1/x"}}, 422, "address_not_allowed"),
    ],
)
def test_what_is_no_job(server: Queued, body: dict[str, Any], status: int, code: str) -> None:
    problem(httpx.post(f"{server.url}/v1/jobs", json=body), status, code)


def test_ranges_and_what_the_client_has_already(server: Queued, worker: None) -> None:
    job = finished(server, upscale(server, png(seed=14), Prefer="respond-async").json())
    at = server.url + job["links"]["result"]
    whole = httpx.get(at)
    size = len(whole.content)

    def part(**headers: str) -> httpx.Response:
        return httpx.get(at, headers={name.replace("_", "-"): value for name, value in headers.items()})

    for given, start, stop in (
        ("bytes=0-9", 0, 10),
        ("bytes=10-", 10, size),
        ("bytes=-7", size - 7, size),
        ("bytes=5-999999999", 5, size),
    ):
        answer = part(Range=given)
        assert answer.status_code == 206
        assert answer.content == whole.content[start:stop]
        assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{size}"
    for ignored in ("bytes=0-1,5-6", "bytes=9-3", "lines=1-2", "bytes=-"):
        assert part(Range=ignored).content == whole.content
    outside = part(Range=f"bytes={size}-")
    problem(outside, 416, "range_not_satisfiable")
    assert outside.headers["content-range"] == f"bytes */{size}"
    etag = whole.headers["etag"]
    assert part(Range="bytes=0-3", If_Range=etag).status_code == 206
    assert part(Range="bytes=0-3", If_Range='"other"').content == whole.content
    for known in (etag, f'"x", {etag}', f"W/{etag}", "*"):
        answer = part(If_None_Match=known)
        assert (answer.status_code, answer.content) == (304, b"")
    assert part(If_None_Match='"x"').status_code == 200
    heading = httpx.head(at)
    assert (heading.headers["content-length"], heading.content) == (str(size), b"")
    assert httpx.get(at + "?inline=1").headers["content-disposition"].startswith("inline;")


def events_of(server: Queued, at: str) -> Iterator[tuple[int, str, dict[str, Any]]]:
    with httpx.stream("GET", server.url + at, timeout=60) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        event: dict[str, str] = {}
        for line in answer.iter_lines():
            if line:
                name, _, value = line.partition(": ")
                event[name] = value
            elif "data" in event:
                yield int(event["id"]), event["event"], json.loads(event["data"])
                event = {}


def test_events_tell_all_from_snapshot_to_end(server: Queued) -> None:
    job = upscale(server, png(seed=15), Prefer="respond-async").json()
    events = events_of(server, job["links"]["events"])
    seen = [next(events)]
    assert (seen[0][1], seen[0][2]["state"]) == ("snapshot", "queued")
    with server.working():
        seen += events
    assert seen[-1][1] == "end"
    assert seen[-1][2]["state"] == "succeeded"
    ids = [id for id, _, _ in seen]  # noqa: A001
    assert ids == sorted(set(ids))
    assert [name for _, name, _ in events_of(server, job["links"]["events"])] == ["snapshot", "end"]


def test_cancelling_and_removing(server: Queued) -> None:
    job = upscale(server, png(seed=16), Prefer="respond-async").json()
    events = events_of(server, job["links"]["events"])
    next(events)
    problem(httpx.get(server.url + job["links"]["result"]), 409, "job_not_finished")
    assert httpx.delete(server.url + job["links"]["self"]).status_code == 204
    assert [(name, told["state"]) for _, name, told in events][-1] == ("end", "cancelled")
    assert httpx.get(server.url + job["links"]["self"]).json()["state"] == "cancelled"
    problem(httpx.get(server.url + job["links"]["result"]), 409, "job_cancelled")
    assert httpx.delete(server.url + job["links"]["self"]).status_code == 204
    problem(httpx.get(server.url + job["links"]["self"]), 404, "unknown_job")
    server.live.wait_until(lambda: not list(server.storage.list(f"jobs/{job['id']}")), 20)


def test_a_large_result_has_tiles(server: Queued, worker: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "WHOLE_PIXELS", 0)
    monkeypatch.setattr(work, "TILED_PIXELS", 1000)
    down, across = np.mgrid[:300, :500]
    smooth = np.stack([across % 256, down % 256, (across + down) // 4 % 256], 2).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(smooth).save(file, "PNG")
    picture = file.getvalue()
    job = finished(server, upscale(server, picture, Prefer="respond-async").json())
    at = server.url + job["links"]["tiles"]
    assert httpx.get(at).json() == {"width": 1000, "height": 600, "tile": 512, "levels": 2, "before": True}
    with Image.open(io.BytesIO(httpx.get(server.url + job["links"]["result"]).content)) as result:
        whole = np.asarray(result).astype(int)
    with Image.open(io.BytesIO(picture)) as source:
        bicubic = np.asarray(source.resize((1000, 600), Image.Resampling.BICUBIC)).astype(int)
    for which, expected in (("result", whole), ("before", bicubic)):
        answer = httpx.get(f"{at}/{which}/0/1/1")
        assert answer.headers["content-type"] == "image/jpeg"
        with Image.open(io.BytesIO(answer.content)) as tile:
            assert tile.size == (488, 88)
            differs = np.abs(np.asarray(tile).astype(int) - expected[512:, 512:]).mean()
        assert differs < 4
    assert Image.open(io.BytesIO(httpx.get(f"{at}/result/1/0/0").content)).size == (500, 300)
    problem(httpx.get(f"{at}/result/0/2/0"), 404, "no_tiles")
    problem(httpx.get(f"{at}/neither/0/0/0"), 404, "not_found")
    small = finished(server, upscale(server, png(10, 10, seed=31), Prefer="respond-async").json())
    problem(httpx.get(server.url + small["links"]["tiles"]), 404, "no_tiles")


def test_the_probe_tells_how_the_queue_stands(server: Queued, worker: None) -> None:
    def queue() -> dict[str, Any]:
        return httpx.get(f"{server.url}/readyz").json()["queue"] or {}

    quiet = {
        "reachable": True, "storage_writable": True, "workers": 1, "queued": 0, "active": 0, "oldest_seconds": None,
    }  # fmt: skip
    server.live.wait_until(lambda: queue() == quiet, 20)  # what other tests cancelled may still be going
    assert queue() == quiet


def test_an_unknown_job(server: Queued) -> None:
    for at in ("", "/result", "/events"):
        problem(httpx.get(f"{server.url}/v1/jobs/job_none{at}"), 404, "unknown_job")
    problem(httpx.delete(f"{server.url}/v1/jobs/job_none"), 404, "unknown_job")


def test_listing(server: Queued) -> None:
    made = [upscale(server, png(seed=20 + n), Prefer="respond-async").json()["id"] for n in range(3)]
    first = httpx.get(f"{server.url}/v1/jobs?limit=2").json()
    assert [job["id"] for job in first["jobs"]] == made[:0:-1]
    second = httpx.get(f"{server.url}/v1/jobs", params={"limit": 2, "cursor": first["next"]}).json()
    assert second["jobs"][0]["id"] == made[0]
    problem(httpx.get(f"{server.url}/v1/jobs?cursor=%20nonsense"), 422, "invalid_option")
    for id in made:  # noqa: A001
        httpx.delete(f"{server.url}/v1/jobs/{id}")


def test_the_queue_is_away_and_small_pictures_go_on(tmp_path: Path, registry: Registry) -> None:
    engine = Engine(registry, platform="cpu", threads=2)
    with (
        queue_server() as queue,
        queued(queue.url, open_storage(tmp_path.as_uri()), Backend(engine.registry, engine, enlarge)) as server,
    ):
        job = upscale(server, png(), Prefer="respond-async").json()
        queue.kill()
        assert upscale(server, png()).status_code == 200
        answer = upscale(server, png(), Prefer="respond-async")
        problem(answer, 503, "queue_unavailable")
        assert answer.headers["retry-after"]
        problem(httpx.get(server.url + job["links"]["self"], timeout=30), 503, "queue_unavailable")
        assert httpx.get(f"{server.url}/livez").status_code == 200
        queue.start()
        with server.working():
            assert finished(server, job)["state"] == "succeeded"


def test_a_full_store_takes_nothing_and_gives_everything(
    tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(registry, platform="cpu", threads=2)
    storage = open_storage(tmp_path.as_uri())
    with queue_url() as url, queued(url, storage, Backend(engine.registry, engine, enlarge)) as server:
        with server.working():
            job = finished(server, upscale(server, png(), Prefer="respond-async").json())

        def full(*_: object) -> None:
            raise StorageError("storage_full", "no room")

        monkeypatch.setattr(storage, "writer", full)
        monkeypatch.setattr(storage, "put", full)
        problem(upscale(server, png(seed=2), Prefer="respond-async"), 503, "storage_full")
        assert upscale(server, png(seed=2)).status_code == 200
        assert httpx.get(server.url + job["links"]["result"]).status_code == 200
        assert httpx.delete(server.url + job["links"]["self"]).status_code == 204
        server.live.wait_until(lambda: not list(storage.list("jobs")), 20)


def test_everything_may_go_through_the_queue(tmp_path: Path, registry: Registry) -> None:
    engine = Engine(registry, platform="cpu", threads=2)
    with (
        queue_url() as url,
        queued(
            url,
            open_storage(tmp_path.as_uri()),
            Backend(engine.registry, engine, enlarge),
            sync_max_output_pixels=0,
        ) as server,
        server.working(),
    ):
        answer = upscale(server, png())
        assert answer.status_code == 200
        assert answer.headers["content-location"].startswith("/v1/jobs/job_")


def test_a_webhook_tells_the_end(tmp_path: Path, registry: Registry) -> None:
    told: list[tuple[dict[str, str], dict[str, Any]]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            told.append(({name.lower(): value for name, value in self.headers.items()}, json.loads(body)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    engine = Engine(registry, platform="cpu", threads=2)
    receiver = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    address = f"127.0.0.1:{receiver.server_port}"
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    try:
        with (
            queue_url() as url,
            queued(
                url,
                open_storage(tmp_path.as_uri()),
                Backend(engine.registry, engine, enlarge),
                egress_allowed_hosts=address,
                webhook_secret="whsec_" + base64.b64encode(b"k" * 32).decode(),
            ) as server,
            server.working(),
        ):
            source = {"base64": base64.b64encode(png()).decode(), "name": "a.png"}
            answer = httpx.post(
                f"{server.url}/v1/jobs",
                json={
                    "source": source,
                    "options": {"model": "nearest", "scale": 2},
                    "webhook_url": f"http://{address}/hook",
                },
            )
            assert answer.status_code == 202, answer.text
            server.live.wait_until(lambda: bool(told), 30)
            job = httpx.get(server.url + answer.json()["links"]["self"]).json()
    finally:
        receiver.shutdown()
        receiver.server_close()
    headers, body = told[0]
    assert body["type"] == "job.succeeded"
    assert body["data"] == job
    assert job["id"] in headers["webhook-id"]
    assert headers["webhook-signature"].startswith("v1,")
