"""Pictures of every kind through the real service and a real model."""

from __future__ import annotations

import io
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from app.api.spool import IN_MEMORY_BYTES
from tests.integration.http.live import RealServer, problem, real_server
from tests.integration.http.pictures import png

DOG = Path(__file__).parents[3] / "app" / "web" / "examples" / "dog.jpg"


@pytest.fixture
def client(chetko: RealServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=chetko.url, timeout=60) as one:
        yield one


def post(client: httpx.Client, content: bytes, name: str = "photo.png", query: str = "scale=4") -> httpx.Response:
    return client.post(f"/v1/upscale?{query}", files={"image": (name, content)})


def large(answer: httpx.Response) -> Image.Image:
    assert answer.status_code == 200, answer.text
    picture = Image.open(io.BytesIO(answer.content))
    picture.load()
    return picture


def encoded(picture: Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def photo(edge: int = 64) -> Image.Image:
    return Image.open(DOG).convert("RGB").resize((edge, edge), Image.Resampling.LANCZOS)


@pytest.mark.parametrize(
    ("form", "media_type", "extension"),
    [
        ("PNG", "image/png", "png"),
        ("JPEG", "image/jpeg", "jpg"),
        ("WEBP", "image/webp", "webp"),
        ("AVIF", "image/avif", "avif"),
        ("TIFF", "image/tiff", "tif"),
        ("BMP", "image/png", "png"),
        ("GIF", "image/png", "png"),
    ],
)
def test_same_keeps_the_format_where_it_can(client: httpx.Client, form: str, media_type: str, extension: str) -> None:
    answer = post(client, encoded(photo(), form), f"dog.{form.lower()}")
    assert large(answer).size == (256, 256)
    assert answer.headers["content-type"] == media_type
    assert answer.headers["content-disposition"] == f'attachment; filename="dog_x4.{extension}"'


@pytest.mark.parametrize("form", ["png", "jpeg", "webp", "avif", "tiff"])
def test_the_format_can_be_chosen(client: httpx.Client, form: str) -> None:
    picture = large(post(client, encoded(photo(), "PNG"), query=f"scale=4&format={form}"))
    assert picture.format == form.upper()
    small = np.asarray(picture.convert("RGB").resize((64, 64), Image.Resampling.BOX), np.int16)
    assert np.abs(small - np.asarray(photo(), np.int16)).mean() < 8, "not the picture that was sent"


def test_uploads_and_results_that_lie_on_the_disk(client: httpx.Client) -> None:
    content = encoded(photo(600), "BMP")
    assert len(content) > IN_MEMORY_BYTES
    answer = post(client, content, query="scale=4&format=tiff")
    assert large(answer).size == (2400, 2400)
    assert len(answer.content) > IN_MEMORY_BYTES


def test_one_pixel(client: httpx.Client) -> None:
    picture = large(post(client, encoded(Image.new("RGB", (1, 1), (200, 100, 50)), "PNG")))
    assert picture.size == (4, 4)
    assert np.abs(np.asarray(picture, np.int16) - (200, 100, 50)).max() < 40


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "I;16"])
def test_modes(client: httpx.Client, mode: str) -> None:
    source = Image.fromarray((np.arange(400, dtype=np.uint16) * 163).reshape(20, 20)) if mode == "I;16" else None
    picture = large(post(client, encoded(source or photo(20).convert(mode), "PNG")))
    assert picture.size == (80, 80)
    assert ("A" in picture.mode) == ("A" in mode)
    assert (picture.mode == "I;16") == (mode == "I;16")


def test_an_animation_is_not_dropped_silently(client: httpx.Client) -> None:
    frames = [photo(16).rotate(angle) for angle in (0, 90, 180)]
    animation = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    answer = post(client, animation, "a.gif", "scale=4&format=png")
    assert answer.headers["x-chetko-notice"] == "first-frame-only"
    assert large(answer).size == (64, 64)
    answer = post(client, animation, "a.gif")
    assert (answer.headers["content-type"], "x-chetko-notice" in answer.headers) == ("image/gif", False)
    assert (large(answer).size, large(answer).n_frames) == ((64, 64), 3)  # type: ignore[attr-defined]


def test_orientation_is_applied(client: httpx.Client) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    answer = post(client, encoded(photo().crop((0, 0, 64, 32)), "JPEG", exif=exif), "a.jpg")
    picture = large(answer)
    assert picture.size == (128, 256)
    assert picture.getexif().get(0x0112, 1) == 1


def test_metadata_can_be_stripped(client: httpx.Client) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Chetko"
    content = encoded(photo(), "JPEG", exif=exif)
    assert large(post(client, content)).getexif().get(0x010F) == "Chetko"
    assert not large(post(client, content, query="scale=4&metadata=strip")).getexif()


def test_mislabelled_files_are_read_by_what_they_are(client: httpx.Client) -> None:
    answer = client.post("/v1/upscale?scale=4", files={"image": ("photo.png", encoded(photo(), "JPEG"), "image/png")})
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["content-disposition"] == 'attachment; filename="photo_x4.jpg"'


@pytest.mark.parametrize(
    "content",
    [
        b"This is a letter, not a picture.",
        b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
        b'<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>',
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n",
        b"GIF",
        b"\x00" * 1000,
    ],
    ids=["text", "pdf", "svg", "eps", "gif", "zeros"],
)
def test_what_is_no_picture_for_us(client: httpx.Client, content: bytes) -> None:
    answer = post(client, content)
    document = problem(answer, answer.status_code, answer.json()["code"])
    assert answer.status_code in (415, 422)
    assert len(document["detail"]) > 20


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "AVIF"])
def test_truncated_files(client: httpx.Client, form: str) -> None:
    content = encoded(photo(), form)
    answer = post(client, content[: len(content) * 6 // 10])
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert "Traceback" not in answer.text


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header promises width x height pixels, in a few hundred bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(bytes(100_000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


def test_pixels_are_limited_from_the_header(client: httpx.Client) -> None:
    began = time.monotonic()
    document = problem(post(client, bomb(30_000, 30_000)), 413, "too_many_pixels")
    assert document["limit"] == 100_000_000
    assert time.monotonic() - began < 2, "it was decoded first"


def test_a_bomb_below_the_input_limit_is_no_synchronous_request(client: httpx.Client) -> None:
    began = time.monotonic()
    answer = post(client, bomb(9_000, 9_000))
    assert answer.status_code == 202, answer.text
    assert time.monotonic() - began < 2, "it was decoded first"
    assert client.delete(answer.json()["links"]["self"]).status_code in (202, 204)


def test_a_format_that_cannot_hold_the_result_says_what_to_choose(client: httpx.Client) -> None:
    faint = photo(16).convert("RGBA")
    faint.putalpha(128)
    answer = post(client, encoded(faint, "PNG"), query="scale=4&format=jpeg")
    assert "Choose png" in problem(answer, 422, "format_cannot_hold")["detail"]


def test_two_requests_give_the_same_bytes(client: httpx.Client) -> None:
    content = png(70, 50)
    assert post(client, content).content == post(client, content).content


def test_limits_are_settings() -> None:
    with real_server(CHETKO_MAX_INPUT_PIXELS="99", CHETKO_MAX_BODY_BYTES="5000") as server:
        url = f"{server.url}/v1/upscale?scale=4"
        answer = httpx.post(url, files={"image": ("a.png", png(10, 10))})
        assert problem(answer, 413, "too_many_pixels")["limit"] == 99
        assert httpx.post(url, files={"image": ("a.png", png(9, 11))}).status_code == 200
        answer = httpx.post(url, files={"image": ("a.png", bytes(5000))})
        assert problem(answer, 413, "body_too_large")["limit"] == 5000
