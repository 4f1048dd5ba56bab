"""The way of one picture, from bytes to bytes."""

from __future__ import annotations

import dataclasses
import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.imaging.picture import FormatCannotHoldError, ImagingError, Picture, PictureTooLargeError, Pixels
from app.inference.engine import Engine
from app.inference.enlarge import Limits, Options, Report, enlarge
from app.inference.errors import UnknownModelError, UnknownScaleError, UpscaleCancelledError
from app.inference.registry import Registry
from tests import models

UNLIMITED = Limits(max_input_pixels=None, max_output_pixels=None)


def _file(pixels: Pixels, kind: str = "PNG", **options: Any) -> io.BytesIO:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    file.seek(0)
    return file


def _enlarge(
    engine: Engine, source: io.BytesIO, limits: Limits = UNLIMITED, **options: Any
) -> tuple[Report, Image.Image]:
    target = io.BytesIO()
    report = enlarge(source, target, Options(**options), engine, limits=limits)
    target.seek(0)
    return report, Image.open(target)


def test_a_picture_comes_out_larger_and_the_report_tells_how(engine: Engine, noise: Pixels) -> None:
    report, image = _enlarge(engine, _file(noise), model="nearest", scale=2, tile=40)
    np.testing.assert_array_equal(np.asarray(image), noise.repeat(2, 0).repeat(2, 1))
    assert (report.model, report.version, report.scale) == ("nearest", "1.0.0", 2)
    assert (report.format, report.media_type, report.extension) == ("png", "image/png", "png")
    assert (report.width, report.height, report.source_width, report.source_height) == (166, 122, 83, 61)
    assert (report.provider, report.halo, report.tile, report.tiles) == ("CPUExecutionProvider", 0, (40, 40), 6)
    assert report.notices == ()
    assert set(report.timings) == {"decode", "inference", "encode"}
    assert all(seconds > 0 for seconds in report.timings.values())


def test_the_default_model_and_scale_are_used(engine: Engine, noise: Pixels) -> None:
    report, image = _enlarge(engine, _file(noise))
    assert (report.model, report.scale, image.size) == ("net", 4, (332, 244))


def test_jpeg_takes_an_opaque_alpha_channel_and_refuses_transparency(engine: Engine, noise: Pixels) -> None:
    alpha = np.full((*noise.shape[:2], 1), 255, np.uint8)
    _, opaque = _enlarge(engine, _file(np.concatenate([noise, alpha], 2)), model="nearest", scale=2, format="jpeg")
    _, without = _enlarge(engine, _file(noise), model="nearest", scale=2, format="jpeg")
    assert opaque.tobytes() == without.tobytes()
    alpha[30, 40] = 254
    with pytest.raises(FormatCannotHoldError, match="transparency"):
        _enlarge(engine, _file(np.concatenate([noise, alpha], 2)), model="nearest", scale=2, format="jpeg")


def test_transparent_heic_becomes_png_and_opaque_heic_jpeg(engine: Engine, noise: Pixels) -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    transparent = np.dstack([noise, noise[:, :, 0]])
    for pixels, mode, form in ((transparent, "RGBA", "png"), (noise, "RGB", "jpeg")):
        report, image = _enlarge(engine, _file(pixels, "HEIF"), model="nearest", scale=2)
        assert (report.format, image.mode) == (form, mode)


def test_tiff_goes_into_temporary_files_whatever_they_are_called(engine: Engine, noise: Pixels) -> None:
    with tempfile.SpooledTemporaryFile(max_size=2**20) as spool, tempfile.TemporaryFile() as file:
        for target in (spool, file):
            enlarge(_file(noise), target, Options(model="nearest", scale=2, format="tiff"), engine, limits=UNLIMITED)
            target.seek(0)
            np.testing.assert_array_equal(np.asarray(Image.open(target)), noise.repeat(2, 0).repeat(2, 1))


def test_the_source_is_read_from_its_start_and_stays_open(engine: Engine, noise: Pixels) -> None:
    source = _file(noise)
    source.seek(10)
    _enlarge(engine, source, model="nearest")
    assert not source.closed


@pytest.mark.parametrize(("wanted", "kind"), [("jpeg", "JPEG"), ("webp", "WEBP"), ("tiff", "TIFF"), ("same", "PNG")])
def test_formats(engine: Engine, noise: Pixels, wanted: str, kind: str) -> None:
    _, image = _enlarge(engine, _file(noise), model="nearest", format=wanted)
    assert image.format == kind
    assert image.size == (332, 244)


def test_quality_reaches_the_encoder(engine: Engine, noise: Pixels) -> None:
    sizes = []
    for quality in (10, 90):
        target = io.BytesIO()
        enlarge(_file(noise), target, Options(format="jpeg", quality=quality), engine, limits=UNLIMITED)
        sizes.append(len(target.getvalue()))
    assert sizes[0] < sizes[1] / 2


def test_the_same_picture_gives_the_same_bytes(registry: Registry, engine: Engine, noise: Pixels) -> None:
    with Engine(registry, platform="cpu", threads=1) as other:
        results = []
        for each in (engine, engine, other):
            target = io.BytesIO()
            enlarge(_file(noise), target, Options(), each, limits=UNLIMITED)
            results.append(target.getvalue())
    assert results[0] == results[1] == results[2], "whatever the number of threads"


def test_unknown_model_and_scale_are_told_before_the_source_is_touched(engine: Engine) -> None:
    with pytest.raises(UnknownModelError):
        _enlarge(engine, io.BytesIO(b""), model="wasp")
    for scale in (0.9, 8.1, 0):
        with pytest.raises(UnknownScaleError, match="1 to 8 times"):
            _enlarge(engine, io.BytesIO(b""), scale=scale)


def test_input_limit(engine: Engine, noise: Pixels) -> None:
    with pytest.raises(PictureTooLargeError) as caught:
        _enlarge(engine, _file(noise), Limits(max_input_pixels=5000, max_output_pixels=5000))
    assert (caught.value.code, caught.value.limit) == ("too_many_pixels", 5000)


def test_output_limit(engine: Engine, noise: Pixels) -> None:
    most = 83 * 61 * 16
    _enlarge(engine, _file(noise), Limits(max_input_pixels=None, max_output_pixels=most))
    with pytest.raises(PictureTooLargeError) as caught:
        _enlarge(engine, _file(noise), Limits(max_input_pixels=None, max_output_pixels=most - 1))
    assert (caught.value.code, caught.value.limit) == ("output_too_large", most - 1)
    assert "332 x 244" in caught.value.message


def test_what_cannot_be_held_is_refused_before_decoding(
    engine: Engine, noise: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr("app.imaging.decode.decode", unreachable)
    with pytest.raises(FormatCannotHoldError):
        _enlarge(engine, _file(np.zeros((1, 4200, 3), np.uint8)), format="webp")
    with pytest.raises(PictureTooLargeError):
        _enlarge(engine, _file(noise), Limits(max_input_pixels=None, max_output_pixels=1))


def test_a_broken_picture_is_an_imaging_error(engine: Engine, noise: Pixels) -> None:
    with pytest.raises(ImagingError):
        _enlarge(engine, io.BytesIO(_file(noise).getvalue()[:2000]))


def test_cancelling(engine: Engine, noise: Pixels) -> None:
    with pytest.raises(UpscaleCancelledError):
        enlarge(_file(noise), io.BytesIO(), Options(), engine, limits=UNLIMITED, cancelled=lambda: True)
    assert engine.queue_length() == 0


def test_metadata_is_kept_or_stripped(engine: Engine, noise: Pixels) -> None:
    source = _file(noise, dpi=(300, 300))
    _, kept = _enlarge(engine, source, model="nearest", scale=4)
    assert kept.info["dpi"] == pytest.approx((1200, 1200), abs=0.1)
    _, stripped = _enlarge(engine, source, model="nearest", scale=4, metadata="strip")
    assert "dpi" not in stripped.info


def test_stripping_converts_to_srgb_first(engine: Engine, noise: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    def inverted(picture: Picture) -> Picture:
        return dataclasses.replace(picture, pixels=255 - picture.pixels)

    monkeypatch.setattr("app.inference.enlarge.to_srgb", inverted)
    _, kept = _enlarge(engine, _file(noise), model="nearest", scale=2)
    _, stripped = _enlarge(engine, _file(noise), model="nearest", scale=2, metadata="strip")
    np.testing.assert_array_equal(np.asarray(stripped), 255 - np.asarray(kept))


def test_equalised_colours_have_the_sources_histogram(tmp_path: Path) -> None:
    models.write_model(tmp_path / "m", "net", models.faded)
    pixels = np.random.default_rng(1).normal((60, 120, 200), 15, (90, 70, 3)).clip(0, 255).astype(np.uint8)
    with Engine(Registry.load([tmp_path / "m"]), platform="cpu") as engine:
        _, plain = _enlarge(engine, _file(pixels), tile=32)
        target = io.BytesIO()
        options = Options(equalize_colors=True, tile=32)
        enlarge(_file(pixels), target, options, engine, limits=UNLIMITED, scratch=tmp_path)
    equal = np.asarray(Image.open(target))
    for share in (5, 25, 50, 75, 95):
        wanted = np.percentile(pixels, share, axis=(0, 1))
        assert np.abs(np.percentile(equal, share, axis=(0, 1)) - wanted).max() <= 2
    assert np.asarray(plain).std() < 0.6 * equal.std(), "without it the model's fading stays"
    assert [path.name for path in tmp_path.iterdir()] == ["m"], "nothing is left in the scratch folder"


def test_equalising_leaves_alpha_alone_and_ignores_hidden_colours(tmp_path: Path) -> None:
    models.write_model(tmp_path, "net", models.nearest)
    pixels = np.full((40, 40, 4), (200, 150, 100, 255), np.uint8)
    pixels[:, :20] = (0, 0, 0, 0)
    with Engine(Registry.load([tmp_path]), platform="cpu") as engine:
        _, image = _enlarge(engine, _file(pixels), equalize_colors=True, scale=2)
    answer = np.asarray(image)
    np.testing.assert_array_equal(answer[:, :, 3], pixels[:, :, 3].repeat(2, 0).repeat(2, 1))
    np.testing.assert_array_equal(answer[:, 40:, :3], pixels[:, 20:, :3].repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize("recommended", [False, True])
def test_the_manifest_decides_about_colours_when_the_caller_does_not(tmp_path: Path, recommended: bool) -> None:
    models.write_model(tmp_path, "net", models.faded, equalize_colors=recommended)
    pixels = np.random.default_rng(1).normal(128, 15, (40, 40, 3)).clip(0, 255).astype(np.uint8)
    with Engine(Registry.load([tmp_path]), platform="cpu") as engine:
        images = {
            choice: np.asarray(_enlarge(engine, _file(pixels), equalize_colors=choice)[1])
            for choice in (None, False, True)
        }
    assert not np.array_equal(images[False], images[True])
    np.testing.assert_array_equal(images[None], images[recommended])


def test_16_bit_equalised(engine: Engine) -> None:
    ramp = np.linspace(1000, 9000, 3000).astype(np.uint16).reshape(30, 100)
    target = io.BytesIO()
    options = Options(model="net", scale=2, equalize_colors=True)
    enlarge(_file(ramp), target, options, engine, limits=UNLIMITED)
    answer = np.asarray(Image.open(target))
    assert answer.dtype == np.uint16
    assert abs(np.median(answer) - np.median(ramp)) < 60
    assert answer.min() >= 1000
    assert answer.max() <= 9000
