"""Animations frame by frame: what is seen, for how long, how often; into GIF, WebP and APNG."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.imaging.animation import Animation, open_animation, open_animation_writer
from app.imaging.formats import FORMATS
from app.imaging.picture import (
    BrokenPictureError,
    FormatCannotHoldError,
    Layout,
    Metadata,
    PictureTooLargeError,
    Pixels,
)
from app.inference.engine import Engine
from app.inference.enlarge import Limits, Options, Report, enlarge
from app.inference.errors import UpscaleCancelledError
from tests.unit.imaging import samples

UNLIMITED = Limits(max_input_pixels=None, max_output_pixels=None)
TIMES = [40, 100, 250, 70]


def _frames(*, alpha: bool = False, height: int = 36, width: int = 52) -> list[Pixels]:
    """A square that wanders over a background; with ``alpha`` over nothing."""
    frames = []
    for number in range(len(TIMES)):
        frame = (
            np.zeros((height, width, 4), np.uint8)
            if alpha
            else np.full((height, width, 4), (30, 90, 160, 255), np.uint8)
        )
        frame[4 + 5 * number : 16 + 5 * number, 8 * number : 8 * number + 12] = (220, 200 - 40 * number, 20, 255)
        frames.append(frame)
    return frames


def _file(kind: str, frames: list[Pixels], **options: Any) -> bytes:
    images = [Image.fromarray(frame) for frame in frames]
    file = io.BytesIO()
    chosen = {"duration": TIMES, "loop": 0} | ({"lossless": True, "exact": True} if kind == "WEBP" else {}) | options
    images[0].save(file, kind, save_all=True, append_images=images[1:], **chosen)
    return file.getvalue()


def _seen(data: bytes) -> tuple[list[Pixels], list[float], Image.Image]:
    """Every frame as RGBA, how long it is shown, and the opened file."""
    image = Image.open(io.BytesIO(data))
    frames, times = [], []
    for number in range(image.n_frames):
        image.seek(number)
        image.load()
        frames.append(np.asarray(image.convert("RGBA")).astype(int))
        times.append(float(image.info["duration"]))
    return frames, times, image


def _enlarged(engine: Engine, data: bytes, **options: Any) -> tuple[Report, bytes]:
    target = io.BytesIO()
    report = enlarge(
        io.BytesIO(data), target, Options(**{"model": "nearest", "scale": 2} | options), engine, limits=UNLIMITED
    )
    return report, target.getvalue()


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("wanted", ["same", "gif", "webp", "apng"])
@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_frames_timing_and_loops_stay(engine: Engine, kind: str, wanted: str, alpha: bool) -> None:
    frames = _frames(alpha=alpha)
    report, data = _enlarged(engine, _file(kind, frames, **({"disposal": 2} if kind == "GIF" else {})), format=wanted)
    expected = {"GIF": "gif", "WEBP": "webp", "PNG": "apng"}[kind] if wanted == "same" else wanted
    assert (report.format, report.media_type) == (expected, FORMATS[expected].media_type)
    assert (report.width, report.height, report.notices) == (104, 72, ())
    seen, times, image = _seen(data)
    assert times == TIMES
    assert image.info["loop"] == 0
    assert image.size == (104, 72)
    for got, frame in zip(seen, frames, strict=True):
        large = frame.repeat(2, 0).repeat(2, 1).astype(int)
        visible = large[:, :, 3] == 255
        np.testing.assert_array_equal(got[:, :, 3], large[:, :, 3])
        # WebP is lossy, and GIF has its colours chosen anew.
        assert np.abs(got - large)[visible].mean() < (6 if expected == "webp" else 1.5)


@pytest.mark.parametrize("source", ["GIF", "WEBP", "PNG"])
@pytest.mark.parametrize("wanted", ["gif", "webp", "apng"])
@pytest.mark.parametrize("plays", [1, 3])
def test_it_is_played_as_often(engine: Engine, source: str, wanted: str, plays: int) -> None:
    # A GIF counts how often it is repeated, the others how often it is shown.
    frames = _frames()
    if source == "GIF":
        data = _file(source, frames, loop=plays - 1) if plays > 1 else _file(source, frames, loop=None)
    else:
        data = _file(source, frames, loop=plays)
    _, result = _enlarged(engine, data, format=wanted)
    loop = Image.open(io.BytesIO(result)).info.get("loop")
    assert loop == ((None if plays == 1 else plays - 1) if wanted == "gif" else plays)


def test_disposal_is_carried_out(engine: Engine) -> None:
    """Parts drawn over what is there, restored and cleared: what counts is what is seen."""
    frames = [Image.fromarray(frame) for frame in _frames(alpha=True)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=TIMES, loop=0, disposal=[1, 3, 2, 1])
    expected, _, _ = _seen(file.getvalue())
    _, data = _enlarged(engine, file.getvalue())
    got, _, _ = _seen(data)
    for large, small in zip(got, expected, strict=True):
        np.testing.assert_array_equal(large[:, :, 3], small[:, :, 3].repeat(2, 0).repeat(2, 1))
    assert len({frame[:, :, 3].tobytes() for frame in expected}) == 4


def test_every_frame_goes_through_the_network_and_the_sizes(engine: Engine) -> None:
    frames = _frames()
    _, data = _enlarged(engine, _file("PNG", frames), model="net", scale=3, equalize_colors=True)
    seen, _, _ = _seen(data)
    for got, frame in zip(seen, frames, strict=True):
        still, target = io.BytesIO(), io.BytesIO()
        Image.fromarray(frame[:, :, :3]).save(still, "PNG")
        enlarge(still, target, Options("net", scale=3, equalize_colors=True), engine, limits=UNLIMITED)
        np.testing.assert_array_equal(got[:, :, :3], np.asarray(Image.open(target)))


def test_other_formats_get_the_first_frame_and_say_so(engine: Engine) -> None:
    report, data = _enlarged(engine, _file("GIF", _frames()), format="png")
    assert report.notices == ("first-frame-only",)
    assert getattr(Image.open(io.BytesIO(data)), "n_frames", 1) == 1


def test_a_still_gif_becomes_a_gif_where_that_is_asked(engine: Engine) -> None:
    still = samples.saved(Image.fromarray(_frames()[0][:, :, :3]), "GIF")
    report, _ = _enlarged(engine, still)
    assert report.format == "png"
    report, data = _enlarged(engine, still, format="gif")
    assert (report.format, Image.open(io.BytesIO(data)).size) == ("gif", (104, 72))
    with pytest.raises(FormatCannotHoldError, match=r"GIF is written of GIF, PNG and WebP only.* Choose png or jpeg"):
        _enlarged(engine, samples.saved(samples.scene(), "JPEG"), format="gif")


def test_limits(engine: Engine) -> None:
    data = _file("GIF", _frames())
    for limits, code in (
        (Limits(None, None, 3), "too_many_frames"),
        (Limits(None, 104 * 72 * 4 - 1), "output_too_large"),
        (Limits(100, None), "too_many_pixels"),
    ):
        with pytest.raises(PictureTooLargeError) as refused:
            enlarge(io.BytesIO(data), io.BytesIO(), Options("nearest", 2), engine, limits=limits)
        assert refused.value.code == code
    enlarge(io.BytesIO(data), io.BytesIO(), Options("nearest", 2), engine, limits=Limits(None, 104 * 72 * 4, 4))
    enlarge(
        io.BytesIO(data), io.BytesIO(), Options("nearest", 2, format="png"), engine, limits=Limits(None, 104 * 72, 1)
    )


def test_cancelling_progress_and_metadata(engine: Engine) -> None:
    data = _file("PNG", _frames(), icc_profile=samples.srgb_profile())
    with pytest.raises(UpscaleCancelledError):
        enlarge(io.BytesIO(data), io.BytesIO(), Options("nearest", 2), engine, limits=UNLIMITED, cancelled=lambda: True)
    parts: list[float] = []
    target = io.BytesIO()
    enlarge(io.BytesIO(data), target, Options("nearest", 2), engine, limits=UNLIMITED, progress=parts.append)
    assert parts == sorted(parts)
    assert (len(parts), parts[-1]) == (4, 1)
    for wanted in ("apng", "webp"):
        for kept in ("keep", "strip"):
            _, result = _enlarged(engine, data, format=wanted, metadata=kept)
            assert (Image.open(io.BytesIO(result)).info.get("icc_profile") is not None) == (kept == "keep")


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_broken_animations_are_told(engine: Engine, kind: str) -> None:
    data = _file(kind, [samples.scene(seed=seed, channels=4) for seed in range(4)])
    with pytest.raises(BrokenPictureError):
        _enlarged(engine, data[: len(data) * 2 // 3])


def _known(times: tuple[float, ...]) -> Animation:
    return Animation(20, 10, times, 0, False, "gif", Metadata())


def _written(form: str, frames: list[Pixels], known: Animation) -> bytes:
    file = io.BytesIO()
    layout = Layout(20, 10, frames[0].shape[2], 8)
    writer = open_animation_writer(form, file, layout, known, quality=None, threads=1)
    for frame in frames:
        writer.write(frame)
    writer.finish()
    return file.getvalue()


@pytest.mark.parametrize("form", ["gif", "webp", "apng"])
def test_equal_frames_cost_little_and_are_still_shown(form: str) -> None:
    frame = samples.scene(10, 20)
    data = _written(form, [frame] * 3, _known((50, 60, 70)))
    assert len(data) < 1.5 * len(_written(form, [frame], _known((50,)))) + 300
    image = Image.open(io.BytesIO(data))
    assert image.n_frames == 3


def test_rounding_to_a_gifs_ticks_does_not_add_up() -> None:
    frames = [np.full((10, 20, 3), level, np.uint8) for level in range(60)]
    _, times, _ = _seen(_written("gif", frames, _known((1000 / 60,) * 60)))
    assert sum(times) == 1000
    assert set(times) == {10, 20}


@pytest.mark.parametrize("form", ["gif", "webp", "apng"])
def test_writers_refuse_what_was_not_announced(form: str) -> None:
    frame = samples.scene(10, 20)
    with pytest.raises(ValueError, match="1 frames of 2"):
        _written(form, [frame], _known((50, 60)))
    with pytest.raises(ValueError, match="more frames"):
        _written(form, [frame] * 2, _known((50,)))
    writer = open_animation_writer(form, io.BytesIO(), Layout(20, 10, 3, 8), _known((50,)), quality=None, threads=1)
    with pytest.raises(ValueError, match="expected a frame"):
        writer.write(samples.scene(10, 21))


def test_a_picture_for_others_is_no_frame(engine: Engine) -> None:
    frames = [Image.fromarray(frame) for frame in _frames()]
    file = io.BytesIO()
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:], default_image=True, duration=TIMES[1:])
    with open_animation(file, max_pixels=None, max_frames=None) as (known, pictures):
        assert known.milliseconds == tuple(TIMES[1:])
        shown: Iterator[Pixels] = (picture.pixels for picture in pictures)
        for picture, expected in zip(shown, _frames()[1:], strict=True):
            np.testing.assert_array_equal(picture, expected[:, :, :3])
