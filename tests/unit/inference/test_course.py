"""Which passes lead to which size, and what is refused before they are run."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.imaging.picture import PictureTooLargeError, Pixels
from app.inference.course import Course, check_course, plot_course
from app.inference.engine import Engine
from app.inference.enlarge import Limits, Options, Report, enlarge
from app.inference.errors import UnknownModelError, UnknownScaleError
from app.inference.registry import Registry
from tests import models


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    folder = tmp_path_factory.mktemp("models")
    models.write_model(folder, "both", models.nearest, default=True)
    models.write_model(folder, "two", models.nearest, scales=(2,))
    models.write_model(folder, "four", models.nearest, scales=(4,))
    return Registry.load([folder])


def _passes(course: Course) -> list[int]:
    return [variant.scale for variant in course.variants]


@pytest.mark.parametrize(
    ("model", "scale", "passes"),
    [
        ("both", 1, [2]),
        ("both", 2, [2]),
        ("both", 2.01, [4]),
        ("both", 4, [4]),
        ("both", 4.01, [4, 2]),
        ("both", 8, [4, 2]),
        ("two", 3, [2, 2]),
        ("four", 1.5, [4]),
        ("four", 8, [4, 4]),
    ],
)
def test_the_nearest_larger_factor(registry: Registry, model: str, scale: float, passes: list[int]) -> None:
    course = plot_course(Options(model=model, scale=scale), registry, 101, 57)
    assert _passes(course) == passes
    assert (course.width, course.height) == (round(101 * scale), round(57 * scale))
    assert course.resamples == (np.prod(passes) != scale)


@pytest.mark.parametrize(
    ("options", "size", "passes", "box"),
    [
        ({"width": 300}, (300, 150), [4], (0, 0, 400, 200)),
        ({"height": 100}, (200, 100), [2], (0, 0, 200, 100)),
        ({"width": 300, "height": 100}, (200, 100), [2], (0, 0, 200, 100)),
        ({"width": 300, "height": 100, "fit": "inside"}, (200, 100), [2], (0, 0, 200, 100)),
        ({"width": 300, "height": 100, "fit": "exact"}, (300, 100), [4], (0, 0, 400, 200)),
        ({"width": 300, "height": 100, "fit": "cover"}, (300, 100), [4], (0, 100 / 3, 400, 200 - 100 / 3)),
        ({"width": 100, "height": 100, "fit": "cover"}, (100, 100), [2], (50, 0, 150, 100)),
        ({"width": 800, "height": 400, "fit": "cover"}, (800, 400), [4, 2], (0, 0, 800, 400)),
        ({"width": 200, "height": 10, "fit": "exact"}, (200, 10), [2], (0, 0, 200, 100)),
    ],
    ids=str,
)
def test_a_size(
    registry: Registry, options: dict[str, Any], size: tuple[int, int], passes: list[int], box: Any
) -> None:
    course = plot_course(Options(**options), registry, 100, 50)
    assert (course.width, course.height) == size
    assert _passes(course) == passes
    assert course.box == pytest.approx(box)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scale": 0.99}, "1 to 8 times, not 0.99"),
        ({"scale": float("nan")}, "1 to 8 times"),
        ({"scale": 8.01}, "1 to 8 times"),
        ({"width": 99}, "100 x 50 pixels; to become 99 x any"),
        ({"width": 900}, "9 times"),
        ({"width": 900, "height": 50, "fit": "exact"}, "9 times"),
        ({"model": "two", "scale": 5}, "up to 4 times"),
    ],
)
def test_sizes_that_are_not_made(registry: Registry, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UnknownScaleError, match=words):
        plot_course(Options(**options), registry, 100, 50)


def test_other_refusals(registry: Registry) -> None:
    with pytest.raises(UnknownModelError):
        plot_course(Options(model="wasp", width=200), registry, 100, 50)
    for fit in ("cover", "exact"):
        with pytest.raises(ValueError, match="width and a height"):
            plot_course(Options(width=200, fit=fit), registry, 100, 50)


def test_limits_count_the_result_and_what_is_made_on_the_way(registry: Registry) -> None:
    limits = Limits(max_input_pixels=None, max_output_pixels=80_000)
    check_course(plot_course(Options(), registry, 100, 50), limits)
    for scale in (1, 2.01, 4.01):  # as wasteful as a scale gets
        check_course(plot_course(Options(scale=scale), registry, 60, 50), limits)
    with pytest.raises(PictureTooLargeError, match=r"4.1 times larger.*410 x 205 = 84,050") as refused:
        check_course(plot_course(Options(scale=4.1), registry, 100, 50), limits)
    assert refused.value.limit == 80_000
    thin = Options(width=400, height=200, fit="cover")
    with pytest.raises(PictureTooLargeError, match="on the way"):
        check_course(plot_course(thin, registry, 100, 1000), limits)


def _enlarged(pixels: Pixels, registry: Registry, **options: Any) -> tuple[Report, Pixels]:
    source, target = io.BytesIO(), io.BytesIO()
    Image.fromarray(pixels).save(source, "PNG", dpi=(100, 100))
    with Engine(registry, platform="cpu") as engine:
        report = enlarge(source, target, Options(**options), engine, limits=Limits(None, None))
    image = Image.open(target)
    assert image.info["dpi"] == pytest.approx((100 * report.scale,) * 2, abs=0.1)
    return report, np.asarray(image)


@pytest.mark.parametrize("scale", [1, 1.5, 3, 6, 8])
def test_the_picture_has_the_size_and_looks_like_it(registry: Registry, scale: float) -> None:
    y, x = np.mgrid[:60, :80]
    pixels = np.stack([2 * y, 3 * x, y + x], axis=2).astype(np.uint8)
    report, got = _enlarged(pixels, registry, scale=scale, tile=33)
    assert got.shape == (60 * scale, 80 * scale, 3)
    assert (report.scale, report.width) == (scale, 80 * scale)
    expected = Image.fromarray(pixels).resize((int(80 * scale), int(60 * scale)), Image.Resampling.BILINEAR)
    assert np.abs(np.asarray(expected).astype(int) - got).max() <= 4, "the nearest pixel's steps"


def test_cover_keeps_the_centre(registry: Registry) -> None:
    pixels = np.zeros((40, 100, 3), np.uint8)
    pixels[:, 40:60] = 200
    report, got = _enlarged(pixels, registry, width=80, height=80, fit="cover")
    assert got.shape == (80, 80, 3)
    assert report.scale == 2
    middle = got[40, :, 0]
    np.testing.assert_array_equal(middle, middle[::-1])
    assert middle[40] == 200
    assert middle[2] == middle[-3] == 0


def test_options_go_through_json_and_back() -> None:
    options = Options(model="a", width=5, height=6, fit="cover", quality=3, metadata="strip", equalize_colors=True)
    assert Options.from_json(options.to_json()) == options
    assert Options.from_json({}) == Options()
    with pytest.raises(TypeError):
        Options.from_json({"colour": 1})
