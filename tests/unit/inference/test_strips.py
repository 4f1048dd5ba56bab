"""A picture in strips against the same picture at once: equal, whatever it is made of."""

from __future__ import annotations

import dataclasses
import io
import json
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from app.imaging import alpha as alpha_module
from app.imaging.alpha import bleed, bleed_rows, rows_for_bleeding
from app.imaging.bands import SourceLayout, write_bands
from app.imaging.picture import FormatCannotHoldError, Metadata, Pixels
from app.imaging.pyramid import PyramidReader
from app.inference.engine import Engine
from app.inference.enlarge import Limits, Options, Report, enlarge
from app.inference.errors import UnknownModelError, UpscaleCancelledError
from app.inference.registry import Registry
from app.inference.strips import Strip, assemble, compute_strip, plan_strips, write_tiles
from tests import models
from tests.unit.imaging import samples

UNLIMITED = Limits(max_input_pixels=None, max_output_pixels=None)


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Of the same models: one as small as they get, and one with much more memory."""
    folder = tmp_path_factory.mktemp("models")
    # Leave for bfloat16: the contract holds there too, where chetko[openvino] is what is installed.
    heavy = {"activation_bytes_per_input_pixel": 3000, "precisions": {"float32": {}, "bfloat16": {}}}
    models.write_model(folder, "net", models.convolutions, halo=3, default=True, entry=heavy)
    models.write_model(folder, "faded", models.faded, equalize_colors=True, entry=heavy)
    registry = Registry.load([folder])
    with (
        Engine(registry, platform="cpu", threads=2, tile_memory_mb=16) as small,
        Engine(registry, platform="cpu", threads=2, tile_memory_mb=256) as large,
    ):
        yield small, large


def _synchronously(data: bytes, options: Options, engine: Engine) -> tuple[bytes, Report]:
    target = io.BytesIO()
    report = enlarge(io.BytesIO(data), target, options, engine, limits=UNLIMITED)
    return target.getvalue(), report


def _prepared(data: bytes, options: Options) -> tuple[SourceLayout, dict[int, bytes]]:
    kept: dict[int, bytes] = {}
    layout = write_bands(io.BytesIO(data), kept.__setitem__, max_pixels=None, band_rows=33, metadata=options.metadata)
    return SourceLayout.from_json(json.loads(json.dumps(layout.to_json()))), kept


def _in_strips(
    data: bytes, options: Options, engine: Engine, other: Engine | None = None, *, bands: int = 1
) -> tuple[bytes, Report, int]:
    """As a job does it: all that is kept goes through JSON, strips are computed last to first and by two engines."""
    layout, source = _prepared(data, options)
    planned = plan_strips(layout, options, engine, target_seconds=0, max_bytes=10**9)
    if bands > 1:  # join some
        rows = planned[0].bottom * engine.registry.passes(options.model, 4)[-1].scale ** 2
        planned = plan_strips(
            layout, options, engine, seconds_per_pixel=1e-9, target_seconds=1.01e-9 * rows * layout.width * bands
        )
    strips = [Strip.from_json(json.loads(json.dumps(strip.to_json()))) for strip in planned]
    assert strips == planned
    results = {
        strip.index: compute_strip(
            layout, source.__getitem__, strip, options, other if other and strip.index % 2 else engine
        )
        for strip in reversed(strips)
    }
    target = io.BytesIO()
    report = assemble(
        layout,
        strips,
        results.__getitem__,
        target,
        options,
        registry=engine.registry,
        get=source.__getitem__,
        threads=2,
    )
    return target.getvalue(), report, len(strips)


def _scene(channels: int, bits: int = 8, *, height: int = 700, width: int = 150) -> Pixels:
    return samples.scene(height, width, channels, bits=bits)


def _varying(pixels: Pixels) -> Pixels:
    """With transparent parts whose hidden colours are nonsense."""
    pixels = pixels.copy()
    top = np.iinfo(pixels.dtype).max
    y, x = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
    hidden = ((y // 90 + x // 40) % 3 == 0) | ((y > 250) & (y < 420) & (x < 140))
    pixels[:, :, -1] = np.where(hidden, 0, (top - (y * 31 + x) % (top // 2)).astype(pixels.dtype))
    pixels[hidden, :-1] = top
    return pixels


def _constant(pixels: Pixels) -> Pixels:
    pixels = pixels.copy()
    pixels[:, :, -1] = 77
    return pixels


_SOURCES = {
    "grey": lambda: _scene(1),
    "colour": lambda: _scene(3),
    "transparent": lambda: _varying(_scene(4)),
    "grey and transparent": lambda: _varying(_scene(2)),
    "one alpha": lambda: _constant(_scene(4)),
    "16 bits": lambda: _scene(3, 16),
    "16 bits, grey": lambda: _scene(1, 16),
    "16 bits, transparent": lambda: _varying(_scene(4, 16)),
}


@pytest.mark.parametrize("equalize", [False, True])
@pytest.mark.parametrize("name", _SOURCES)
def test_strips_give_the_same_file(name: str, equalize: bool, engines: tuple[Engine, Engine]) -> None:
    small, large = engines
    data = samples.encoded("png", _SOURCES[name](), metadata=Metadata(dpi=(300, 300)))
    options = Options(model="faded" if equalize else "net", scale=4 if "16" not in name else 2)
    expected, told = _synchronously(data, options, small)
    got, report, count = _in_strips(data, options, small, large)
    assert count > 2, "a test of one strip would prove little"
    assert got == expected
    same = {"timings", "provider"}
    for field in dataclasses.fields(Report):
        if field.name not in same:
            assert getattr(report, field.name) == getattr(told, field.name), field.name


@pytest.mark.parametrize(
    "options",
    [
        Options(scale=3),
        Options(scale=1),
        Options(scale=8),
        Options(scale=5.5, equalize_colors=True),
        Options(width=511, height=901, fit="cover"),
        Options(width=400, height=1000, fit="exact"),
        Options(width=777),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["colour", "transparent"])
def test_any_size_in_strips(options: Options, name: str, engines: tuple[Engine, Engine]) -> None:
    pixels = _SOURCES[name]()[:330, :130]
    data = samples.encoded("png", np.ascontiguousarray(pixels))
    small, large = engines
    expected, _ = _synchronously(data, options, small)
    got, _, count = _in_strips(data, options, small, large)
    assert count > 1
    assert got == expected


def test_kept_squares_joined_bands_and_stripping(engines: tuple[Engine, Engine]) -> None:
    small, large = engines
    data = samples.encoded("png", _scene(3, height=300), metadata=Metadata(icc=samples.swapped_profile()))
    options = Options(tile=40, metadata="strip", format="tiff")
    expected, _ = _synchronously(data, options, small)
    got, _, single = _in_strips(data, options, small, large)
    joined, _, fewer = _in_strips(data, options, small, large, bands=3)
    assert (single, fewer) == (8, 3)
    for each in (got, joined):
        np.testing.assert_array_equal(tifffile.imread(io.BytesIO(each)), tifffile.imread(io.BytesIO(expected)))


def test_jpeg_of_an_opaque_screenshot_and_the_refusal_of_a_transparent_one(engines: tuple[Engine, Engine]) -> None:
    small, _ = engines
    opaque = _scene(4, height=200)
    opaque[:, :, 3] = 255
    options = Options(format="jpeg", scale=2)
    data = samples.encoded("png", opaque)
    assert _in_strips(data, options, small)[0] == _synchronously(data, options, small)[0]
    opaque[150, 20, 3] = 254
    layout, _ = _prepared(samples.encoded("png", opaque), options)
    with pytest.raises(FormatCannotHoldError, match="transparency"):
        plan_strips(layout, options, small)


def test_strips_are_as_long_as_asked_and_the_same_every_time(engines: tuple[Engine, Engine]) -> None:
    layout = SourceLayout(300, 5000, 3, 8, 128, "png")
    small, _ = engines
    bands = plan_strips(layout, Options(), small, target_seconds=0)
    for options in ({"seconds_per_pixel": 1e-6, "target_seconds": 2.0}, {"max_bytes": 2_000_000 * 3}):
        strips = plan_strips(layout, Options(), small, **options)
        assert strips == plan_strips(layout, Options(), small, **options)
        assert [strip.index for strip in strips] == list(range(len(strips)))
        assert [strip.top for strip in strips] == [0, *(strip.bottom for strip in strips[:-1])]
        assert strips[-1].bottom == 5000
        pixels = [(strip.bottom - strip.top) * 300 * 16 for strip in strips]
        assert max(pixels) <= 2_000_000
        assert 1 < len(strips) < len(bands)
    with_alpha = dataclasses.replace(layout, channels=4)
    once = plan_strips(dataclasses.replace(with_alpha, constant_alpha=255), Options(), small, seconds_per_pixel=1e-6)
    assert len(plan_strips(with_alpha, Options(), small, seconds_per_pixel=1e-6)) > len(once)


def test_what_does_not_exist_or_fit_is_told_when_planning(engines: tuple[Engine, Engine]) -> None:
    layout = SourceLayout(5000, 5000, 3, 8, 128, "png")
    with pytest.raises(UnknownModelError):
        plan_strips(layout, Options(model="wasp"), engines[0])
    for wanted in ("webp", "avif"):
        with pytest.raises(FormatCannotHoldError, match="png or jpeg or tiff"):
            plan_strips(layout, Options(format=wanted), engines[0])


def test_cancelling(engines: tuple[Engine, Engine]) -> None:
    small, _ = engines
    options = Options(scale=2)
    layout, source = _prepared(samples.encoded("png", _scene(3)), options)
    strips = plan_strips(layout, options, small, target_seconds=0)
    with pytest.raises(UpscaleCancelledError):
        compute_strip(layout, source.__getitem__, strips[0], options, small, cancelled=lambda: True)
    done = {strip.index: compute_strip(layout, source.__getitem__, strip, options, small) for strip in strips}
    parts: list[float] = []
    target = io.BytesIO()

    def put_together(cancelled: Any) -> Report:
        return assemble(
            layout,
            strips,
            done.__getitem__,
            target,
            options,
            registry=small.registry,
            get=source.__getitem__,
            cancelled=cancelled,
            progress=parts.append,
        )

    with pytest.raises(UpscaleCancelledError):
        put_together(lambda: len(parts) == 2)
    assert len(parts) == 2
    parts.clear()
    target.seek(0)
    target.truncate()
    put_together(lambda: False)
    assert parts == sorted(parts)
    assert parts[-1] == 1


@pytest.mark.parametrize("equalize_colors", [False, True])
def test_tiles_show_what_is_assembled(engines: tuple[Engine, Engine], equalize_colors: bool) -> None:
    small, _ = engines
    options = Options(scale=2, equalize_colors=equalize_colors)
    layout, source = _prepared(samples.encoded("png", _scene(3)), options)
    strips = plan_strips(layout, options, small, target_seconds=0)
    done = {strip.index: compute_strip(layout, source.__getitem__, strip, options, small) for strip in strips}
    target, tiles = io.BytesIO(), io.BytesIO()
    given: Any = {"registry": small.registry, "get": source.__getitem__}
    assemble(layout, strips, done.__getitem__, target, options, **given)
    with pytest.raises(UpscaleCancelledError):
        write_tiles(layout, strips, done.__getitem__, io.BytesIO(), options, **given, cancelled=lambda: True)
    write_tiles(layout, strips, done.__getitem__, tiles, options, **given)
    reader = PyramidReader(lambda start, length: tiles.getvalue()[start : start + length], len(tiles.getvalue()))
    result, shown = np.asarray(Image.open(target)), reader.region(0, 0, 0, 300, 1400)
    assert result.shape == shown.shape
    means = [each.reshape(70, 20, 15, 20, 3).mean(axis=(1, 3)) for each in (result, shown)]
    assert np.abs(means[0] - means[1]).max() < 8, "as far as JPEG keeps noise"


def test_damaged_and_foreign_strips_are_refused(engines: tuple[Engine, Engine]) -> None:
    small, _ = engines
    options = Options(scale=2, equalize_colors=True)
    layout, source = _prepared(samples.encoded("png", _scene(3)), options)
    strips = plan_strips(layout, options, small, target_seconds=0)
    done = {strip.index: compute_strip(layout, source.__getitem__, strip, options, small) for strip in strips}
    plain = dataclasses.replace(options, equalize_colors=False)
    without = compute_strip(layout, source.__getitem__, strips[1], plain, small)
    for damaged, chosen in (
        (done[1][:-1], options),
        (done[1][:2], options),
        (done[0] + done[0], plain),
        (without, options),
        (done[1][: len(done[1]) // 3], plain),
    ):
        with pytest.raises(ValueError, match=r"strip 1|packed rows"):
            assemble(
                layout,
                strips,
                {**done, 1: damaged}.__getitem__,
                io.BytesIO(),
                chosen,
                registry=small.registry,
                get=source.__getitem__,
            )


@pytest.mark.parametrize(
    ("height", "top", "bottom"), [(1700, 0, 100), (1700, 500, 530), (1700, 1100, 1700), (90, 3, 4)]
)
def test_bled_rows_are_those_of_the_whole(height: int, top: int, bottom: int) -> None:
    pixels = _varying(samples.scene(height, 200, 4))
    pixels[height // 3 : height // 2, :, 3] = 0  # wider than bleeding reaches
    whole = bleed(pixels[:, :, :3], pixels[:, :, 3])
    low, high = rows_for_bleeding(top, bottom, height)
    part = bleed_rows(pixels[low:high, :, :3], pixels[low:high, :, 3], first=low, top=top, bottom=bottom)
    np.testing.assert_array_equal(part, whole[top:bottom])
    if height > 1000:
        assert not np.array_equal(whole[top:bottom], pixels[top:bottom, :, :3])
        assert high - low < height or (top, bottom) == (1100, 1700)
    assert alpha_module.REACH == 64
