"""Evaluations over HTTP: the measures are right, and what cannot be measured is refused."""

from __future__ import annotations

import base64
import io
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
from tests.integration.http.live import Computing, Live, live, problem
from tests.integration.http.pictures import png
from training.evaluation import metrics
from training.resize import matlab_resize, shrink


@pytest.fixture(scope="module")
def server(registry: Registry) -> Iterator[Live]:
    engine = Engine(registry, platform="cpu", threads=2)
    backend = Backend(engine.registry, engine, enlarge)
    with live(Computing(), load=lambda _: backend, evaluation_max_pixels=20_000) as one:
        one.wait_until(lambda: one.service.state == "ready")
        yield one


def ask(server: Live, picture: bytes, query: str = "scale=2&models=nearest,net") -> httpx.Response:
    return httpx.post(f"{server.url}/v1/evaluations?{query}", files={"image": ("a.png", picture)}, timeout=60)


def pixels_of(url: str) -> Any:
    kind, _, data = url.partition(",")
    assert kind == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_every_model_restores_the_shrunk_picture_and_is_measured(server: Live, mode: str) -> None:
    original = np.asarray(Image.open(io.BytesIO(png(61, 53, mode))))
    original = original[:, :, :3] if mode == "RGBA" else original
    answer = ask(server, png(61, 53, mode))
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert (document["scale"], document["width"], document["height"]) == (2, 60, 52)
    cut = original[:52, :60]
    np.testing.assert_array_equal(pixels_of(document["original"]), cut)
    small = shrink(cut, 2)
    np.testing.assert_array_equal(pixels_of(document["lr"]), small)
    bicubic, nearest, net = document["methods"]
    assert [each["name"] for each in document["methods"]] == ["bicubic", "nearest", "net"]
    np.testing.assert_array_equal(pixels_of(bicubic["image"]), matlab_resize(small, 2.0))
    np.testing.assert_array_equal(pixels_of(nearest["image"]), small.repeat(2, axis=0).repeat(2, axis=1))
    for method in (bicubic, nearest, net):
        planes = [metrics.shave(metrics.luma(each), 2) for each in (cut, pixels_of(method["image"]))]
        assert method["psnr"] == pytest.approx(metrics.psnr(*planes), abs=0.001)
        assert method["ssim"] == pytest.approx(metrics.ssim(*planes), abs=0.0001)
        assert 0 < method["lpips"] < 2
        assert method["seconds"] > 0


def test_all_models_with_the_scale_are_measured_where_none_is_named(server: Live) -> None:
    document = ask(server, png(60, 60), "scale=4").json()
    assert {each["name"] for each in document["methods"]} == {"bicubic", "net", "nearest"}


@pytest.mark.parametrize("query", ["scale=2&models=nearest,bicubic", "scale=2&models=bicubic"])
def test_bicubic_is_measured_once_also_where_it_is_named(server: Live, query: str) -> None:
    names = [each["name"] for each in ask(server, png(60, 60), query).json()["methods"]]
    assert names == ["bicubic", *(["nearest"] if "nearest" in query else [])]


@pytest.mark.parametrize(
    ("picture", "query", "status", "code"),
    [
        (png(200, 150), "scale=2", 413, "too_many_pixels"),
        (png(20, 60), "scale=4", 415, "picture_too_small"),
        (png(60, 60), "scale=3", 422, "invalid_option"),
        (png(60, 60), "model=net", 422, "unknown_option"),
        (png(60, 60), "models=none", 422, "unknown_model"),
        (png(60, 60), "models=a,b,c,d,e,f,g,h,i", 422, "invalid_option"),
        (b"no picture", "scale=2", 415, "unsupported_format"),
        (png(60, 60)[:100], "scale=2", 422, "broken_picture"),
    ],
)
def test_what_cannot_be_measured_is_refused(server: Live, picture: bytes, query: str, status: int, code: str) -> None:
    problem(ask(server, picture, query), status, code)
