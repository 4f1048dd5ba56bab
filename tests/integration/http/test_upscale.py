"""``POST /v1/upscale`` over a real socket, with inference replaced: what is asked, what is answered."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image

from app.imaging.picture import BrokenPictureError, PictureTooLargeError
from app.inference.errors import NotFiniteError
from tests.integration.http.live import Computing, Live, live, problem
from tests.integration.http.pictures import BOUNDARY, multipart, png


@pytest.fixture(scope="module")
def computing() -> Computing:
    return Computing()


@pytest.fixture(scope="module")
def server(computing: Computing) -> Iterator[Live]:
    with live(computing) as one:
        yield one


@pytest.fixture
def client(server: Live) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=20) as one:
        yield one


def post(client: httpx.Client, query: str = "scale=2", **files: object) -> httpx.Response:
    sent = files or {"image": ("photo.jpg", png())}
    return client.post(f"/v1/upscale?{query}", files=sent)  # type: ignore[arg-type]


def test_the_answer_is_the_picture_with_all_its_headers(client: httpx.Client) -> None:
    answer = post(client)
    assert answer.status_code == 200
    with Image.open(io.BytesIO(answer.content)) as large:
        assert (large.format, large.size) == ("PNG", (16, 12))
    headers = answer.headers
    assert headers["content-type"] == "image/png"
    assert headers["content-length"] == str(len(answer.content))
    assert headers["content-disposition"] == 'attachment; filename="photo_x2.png"'
    assert headers["x-chetko-model"] == "double/x2@1.2.3"
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert "x-chetko-notice" not in headers
    names = [entry.split(";dur=")[0] for entry in headers["server-timing"].split(", ")]
    assert names == ["queue", "decode", "inference", "encode"]
    assert "decode;dur=1.0, inference;dur=2.0, encode;dur=3.0" in headers["server-timing"]


def test_notices_are_told(client: httpx.Client) -> None:
    file = io.BytesIO()
    Image.new("P", (4, 4)).save(file, "GIF")
    assert post(client, image=("a.gif", file.getvalue())).headers["x-chetko-notice"] == "first-frame-only"


def test_a_name_in_another_script(client: httpx.Client) -> None:
    value = post(client, image=("кот.png", png())).headers["content-disposition"]
    assert value == ("attachment; filename=\"picture_x2.png\"; filename*=UTF-8''%D0%BA%D0%BE%D1%82_x2.png")


def test_the_callers_request_id_comes_back(client: httpx.Client) -> None:
    assert client.get("/v1", headers={"X-Request-Id": "abc-1.2_3"}).headers["x-request-id"] == "abc-1.2_3"
    generated = client.get("/v1", headers={"X-Request-Id": "a b"}).headers["x-request-id"]
    assert len(generated) == 32


def test_large_uploads_and_results_go_over_the_disk(server: Live, computing: Computing) -> None:
    result = bytes(range(256)) * 20_000
    computing.result = result
    try:
        content = png(4, 4) + bytes(6_000_000)  # a PNG may be followed by anything
        answer = httpx.post(f"{server.url}/v1/upscale?scale=2", files={"image": ("a.png", content)}, timeout=20)
    finally:
        computing.result = None
    assert answer.content == result


@pytest.mark.parametrize(
    ("query", "code", "words"),
    [
        ("sclae=4", "unknown_option", ["'sclae'", "'scale'", "model, scale, width"]),
        ("dither=1", "unknown_option", ["'dither'"]),
        ("scale=0.9", "invalid_option", ["scale", "at least 1", "'0.9'"]),
        ("scale=9", "invalid_option", ["scale", "at most 8"]),
        ("scale=nan", "invalid_option", ["scale must"]),
        ("scale=two", "invalid_option", ["scale must be a number"]),
        ("width=0", "invalid_option", ["width", "at least 1"]),
        ("width=100&fit=cover", "invalid_option", ["fit=cover needs a width and a height"]),
        ("fit=inside", "invalid_option", ["give them"]),
        ("width=100&height=100&fit=crop", "invalid_option", ["fit", "inside, cover or exact"]),
        ("scale=", "invalid_option", ["scale"]),
        ("scale=" + "9" * 5000, "invalid_option", ["scale must be a number"]),
        ("quality=" + "9" * 5000, "invalid_option", ["quality must be a much smaller number"]),
        ("scale=2&scale=4", "invalid_option", ["2 times"]),
        ("format=bmp", "invalid_option", ["format", "png", "'bmp'"]),
        ("quality=0", "invalid_option", ["quality", "at least 1"]),
        ("quality=101", "invalid_option", ["quality", "at most 100"]),
        ("quality=best", "invalid_option", ["quality", "whole number"]),
        ("metadata=all", "invalid_option", ["metadata", "keep or strip"]),
        ("equalize_colors=perhaps", "invalid_option", ["equalize_colors", "true or false"]),
        ("model=", "invalid_option", ["model", "empty"]),
        ("scale=30&quality=0", "invalid_option", ["scale must", "quality must"]),
        ("scale=2&model=nope", "unknown_model", ["'nope'", "double"]),
        ("scale=5", "unknown_scale", ["up to 4 times", "5"]),
    ],
)
def test_bad_options(client: httpx.Client, query: str, code: str, words: list[str]) -> None:
    detail = problem(post(client, query), 422, code)["detail"]
    assert all(word in detail for word in words), detail


def test_good_options_are_taken(client: httpx.Client) -> None:
    query = "scale=2&model=double&format=png&quality=90&metadata=strip&equalize_colors=true"
    assert post(client, query).status_code == 200


def test_an_empty_body(client: httpx.Client) -> None:
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    detail = problem(client.post("/v1/upscale?scale=2", headers=headers, content=b""), 400, "empty_body")["detail"]
    assert detail.startswith("The body is empty.")


def test_no_body_at_all(client: httpx.Client) -> None:
    assert "no Content-Type" in problem(client.post("/v1/upscale?scale=2"), 415, "not_multipart")["detail"]


def test_a_wrong_field_name(client: httpx.Client) -> None:
    assert "'photo'" in problem(post(client, photo=("a.png", png())), 422, "wrong_field")["detail"]


def test_two_files(client: httpx.Client) -> None:
    files = [("image", ("a.png", png())), ("image", ("b.png", png()))]
    detail = problem(client.post("/v1/upscale?scale=2", files=files), 422, "too_many_parts")["detail"]
    assert "one picture per request" in detail


def test_an_empty_file(client: httpx.Client) -> None:
    assert "is empty" in problem(post(client, image=("a.png", b"")), 422, "empty_picture")["detail"]


def test_the_picture_alone_without_multipart(client: httpx.Client) -> None:
    answer = client.post("/v1/upscale?scale=2", content=png(), headers={"Content-Type": "image/png"})
    assert "not 'image/png'" in problem(answer, 415, "not_multipart")["detail"]


def test_a_compressed_body(client: httpx.Client) -> None:
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", "Content-Encoding": "gzip"}
    problem(client.post("/v1/upscale?scale=2", headers=headers, content=b"x"), 415, "content_encoding")


def test_a_body_cut_off_in_good_order(client: httpx.Client) -> None:
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    answer = client.post("/v1/upscale?scale=2", headers=headers, content=multipart(png())[:-30])
    problem(answer, 400, "body_incomplete")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (BrokenPictureError("truncated", "The picture ends too early; send it whole."), 422, "truncated"),
        (PictureTooLargeError("too_many_pixels", "Send a smaller one.", limit=7), 413, "too_many_pixels"),
        (NotFiniteError("The model failed; try another."), 500, "not_finite"),
        (RuntimeError("/secret"), 500, "internal_error"),
    ],
)
def test_what_fails_below_is_told(server: Live, computing: Computing, error: Exception, status: int, code: str) -> None:
    computing.fail = error
    try:
        answer = httpx.post(f"{server.url}/v1/upscale?scale=2", files={"image": ("a.png", png())})
        document = problem(answer, status, code)
    finally:
        computing.fail = None
    assert "/secret" not in str(document)
    assert document.get("limit") == getattr(error, "limit", None)
    assert (server.service.admission.requests, server.service.admission.uploads) == (0, 0)


def test_a_connection_is_kept_for_the_next_picture(client: httpx.Client) -> None:
    first, second = post(client), post(client)
    assert "connection" not in first.headers
    same = [answer.extensions["network_stream"].get_extra_info("client_addr") for answer in (first, second)]
    assert same[0] == same[1]


@pytest.mark.parametrize(("method", "allowed"), [("GET", "POST"), ("PUT", "POST"), ("OPTIONS", "POST")])
def test_other_methods(client: httpx.Client, method: str, allowed: str) -> None:
    answer = client.request(method, "/v1/upscale")
    problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == allowed


def test_other_addresses(client: httpx.Client) -> None:
    for path in ("/nope", "/v1/upscale/", "/static/none.js", "/static/../main.py", "/static/%2e%2e/main.py"):
        problem(client.get(path), 404, "not_found")


def test_models(client: httpx.Client) -> None:
    listing = client.get("/v1/models").json()
    (model,) = listing["models"]
    assert (model["name"], model["version"], model["default"]) == ("double", "1.2.3", True)
    assert model["title"] == {"en": "Double", "ru": "Двойная"}
    assert [scale["scale"] for scale in model["scales"]] == [2]
    assert model["scales"][0]["measured"] == {"Set5": {"psnr": 30.0}}
    assert client.get("/v1/models/double").json() == model
    assert "double" in problem(client.get("/v1/models/nope"), 404, "unknown_model")["detail"]


def test_discovery_and_probes(client: httpx.Client) -> None:
    found = client.get("/v1").json()
    assert found["links"]["upscale"] == "/v1/upscale"
    assert found["limits"]["max_body_bytes"] == 50_000_000
    assert client.get("/livez").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {
        "status": "ready",
        "requests": 0,
        "max_requests": 64,
        "uploads": 0,
        "max_uploads": 32,
        "queue": None,
    }
    assert client.head("/readyz").status_code == 200


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/static/style.css", "text/css; charset=utf-8"),
        ("/static/main.js", "text/javascript; charset=utf-8"),
        ("/static/icon.svg", "image/svg+xml"),
        ("/favicon.ico", "image/svg+xml"),
    ],
)
def test_the_page_and_its_files(client: httpx.Client, path: str, media_type: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)
    assert answer.headers["cache-control"] == "no-cache"
    again = client.get(path, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get(path, headers={"If-None-Match": '"other"'}).status_code == 200
    plain = client.head(path, headers={"Accept-Encoding": "identity"})
    assert plain.headers["content-length"] == str(len(answer.content))


def test_the_page_travels_packed_where_the_client_unpacks(client: httpx.Client) -> None:
    plain = client.get("/static/main.js", headers={"Accept-Encoding": "br, gzip;q=0"})
    packed = client.get("/static/main.js", headers={"Accept-Encoding": "br, gzip"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.content == plain.content
    assert int(packed.headers["content-length"]) < len(plain.content) / 2
    assert packed.headers["etag"] != plain.headers["etag"]
    assert packed.headers["vary"] == "Accept-Encoding"
    assert "content-encoding" not in client.get("/static/examples/kitten.jpg").headers


def test_the_page_holds_nothing_that_its_policy_forbids(client: httpx.Client) -> None:
    page = client.get("/").text
    assert "<script>" not in page
    assert "<style" not in page
    assert " style=" not in page
    assert " onclick=" not in page
    web = Path(__file__).parents[3] / "app" / "web"
    for file in web.glob("*.*"):
        source = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in source, f"{file.name} names another host"
        assert "https://" not in source, f"{file.name} names another host"
