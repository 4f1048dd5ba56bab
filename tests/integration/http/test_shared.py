"""Share links: whoever has one sees one result, as long as it is there."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Iterator

import httpx
import pytest
from PIL import Image

from app.api.share_links import ShareLinks, Shown
from app.inference.backend import Backend
from app.inference.engine import Engine
from app.inference.enlarge import enlarge
from app.inference.registry import Registry
from app.storage import open_storage
from tests.integration.http.live import problem
from tests.integration.http.pictures import png
from tests.integration.http.queue import Queued, queued
from tests.queue_server import queue_url

SECRET = "0123456789abcdef0123456789abcdef"  # noqa: S105 - of this test


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Iterator[Queued]:
    storage = open_storage(tmp_path_factory.mktemp("store").as_uri())
    engine = Engine(registry, platform="cpu", threads=2)  # the server closes it
    backend = Backend(engine.registry, engine, enlarge)
    with queue_url() as url, queued(url, storage, backend, secret_key=SECRET) as one:
        yield one


def submitted(server: Queued) -> str:
    answer = httpx.post(
        f"{server.url}/v1/upscale?model=nearest&scale=2",
        files={"image": ("cat.png", png(20, 16))},
        headers={"Prefer": "respond-async"},
    )
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def finish(server: Queued, job: str) -> None:
    with server.working():
        deadline = time.monotonic() + 60
        while httpx.get(f"{server.url}/v1/jobs/{job}").json()["state"] != "succeeded":
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_link_shows_the_result_until_the_job_is_deleted(server: Queued, caplog: pytest.LogCaptureFixture) -> None:
    job = submitted(server)
    problem(httpx.post(f"{server.url}/v1/jobs/{job}/share"), 409, "job_not_finished")
    finish(server, job)
    answer = httpx.post(f"{server.url}/v1/jobs/{job}/share")
    assert answer.status_code == 200, answer.text
    share = answer.json()
    assert share["expires_at"][:19] == httpx.get(f"{server.url}/v1/jobs/{job}").json()["expires_at"][:19]
    with caplog.at_level(logging.INFO):
        picture = httpx.get(server.url + share["url"])
    assert picture.status_code == 200
    assert picture.content == httpx.get(f"{server.url}/v1/jobs/{job}/result").content
    assert picture.headers["content-disposition"].startswith("inline")
    assert httpx.get(server.url + share["url"] + "?download=1").headers["content-disposition"].startswith("attachment")
    told = [record.getMessage() for record in caplog.records if record.name.startswith("chetko")]
    assert any("/v1/shared/" in line for line in told)
    assert not any(share["url"].rsplit("/", 1)[1] in line for line in told)
    # Nothing but looking.
    for method in ("POST", "PUT", "DELETE"):
        problem(httpx.request(method, server.url + share["url"]), 405, "method_not_allowed")
    assert httpx.delete(f"{server.url}/v1/jobs/{job}").status_code == 204
    problem(httpx.get(server.url + share["url"]), 404, "unknown_share")


def uploaded(server: Queued, data: bytes, name: str = "../strip<b>.png") -> str:
    place = httpx.post(f"{server.url}/v1/uploads", json={"name": name, "bytes": len(data)}).json()
    assert httpx.put(server.url + place["put_url"], content=data).status_code == 204
    return f"{server.url}{place['put_url']}"


def test_an_uploaded_picture_is_shown_by_link_and_stays_as_it_is(server: Queued) -> None:
    data = png(30, 20)
    upload = uploaded(server, data)
    share = httpx.post(f"{upload}/share")
    assert share.status_code == 200, share.text
    link = server.url + share.json()["url"]
    shown = httpx.get(link)
    assert shown.content == data
    assert shown.headers["content-type"] == "image/png"
    assert shown.headers["content-disposition"] == 'inline; filename="strip_b_.png"'
    assert shown.headers["x-content-type-options"] == "nosniff"
    assert httpx.get(f"{link}?download=1").headers["content-disposition"].startswith("attachment")
    assert httpx.get(link, headers={"Range": "bytes=0-7"}).content == data[:8]
    problem(httpx.put(upload, content=png(30, 21)), 409, "upload_in_use")
    assert httpx.delete(upload).status_code == 204
    problem(httpx.get(link), 404, "unknown_share")
    problem(httpx.post(f"{upload}/share"), 404, "unknown_upload")


def test_a_link_may_end_with_a_jobs_result(server: Queued) -> None:
    job = submitted(server)
    finish(server, job)
    upload = uploaded(server, png(30, 20))
    problem(httpx.post(f"{upload}/share?job=none"), 404, "unknown_job")
    share = httpx.post(f"{upload}/share?job={job}").json()
    assert share["expires_at"][:19] <= httpx.get(f"{server.url}/v1/jobs/{job}").json()["expires_at"][:19]
    assert httpx.get(server.url + share["url"]).status_code == 200
    assert httpx.delete(f"{server.url}/v1/jobs/{job}").status_code == 204
    problem(httpx.get(server.url + share["url"]), 404, "unknown_share")


def test_only_pictures_of_one_kind_are_shown_by_link(server: Queued) -> None:
    problem(httpx.post(f"{uploaded(server, b'<script>alert(1)</script>')}/share"), 415, "unsupported_format")
    gif = io.BytesIO()
    Image.new("P", (3, 2)).save(gif, "GIF")
    problem(httpx.post(f"{uploaded(server, gif.getvalue())}/share"), 415, "unsupported_format")
    place = httpx.post(f"{server.url}/v1/uploads", json={"name": "a.png", "bytes": 5}).json()
    problem(httpx.post(f"{server.url}{place['put_url']}/share"), 409, "upload_incomplete")


def test_links_of_others_and_ended_ones_lead_nowhere(server: Queued) -> None:
    links = ShareLinks(SECRET)
    token = links.token(Shown("job_1"), time.time() + 60)
    assert links.shown(token) == Shown("job_1")
    assert ShareLinks(SECRET[::-1]).shown(token) is None
    assert links.shown(links.token(Shown("job_1"), time.time() - 1)) is None
    for bad in (token[:-1], token + "A", token.replace(".", ""), "", "a.b", "." * 50, "ы", "x" * 5000):
        assert links.shown(bad) is None
    for bad in (token, token[:-2], "a.b"):
        problem(httpx.get(f"{server.url}/v1/shared/{bad}"), 404, "unknown_share")
