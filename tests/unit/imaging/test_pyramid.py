"""A viewer's tiles: of the result, and of the bicubic enlargement beside it."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from app.imaging.bands import SourceLayout, write_bands
from app.imaging.before import bicubic_tile, write_source_pyramid
from app.imaging.picture import Layout, Metadata, Pixels
from app.imaging.pyramid import TILE, PyramidReader, PyramidWriter, _halved, levels_of
from tests.unit.imaging import samples


def _smooth(height: int, width: int, channels: int, *, bits: int = 8) -> Pixels:
    """Waves of all directions, which JPEG and WebP keep to a level or two: what is compared is places, not codecs."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    waves = [np.sin(x / 79 + y / 131), np.sin(y / 91), np.sin((x + y) / 117), np.sin((x - y) / 123)]
    top = (1 << bits) - 1
    return ((np.stack(waves[:channels], axis=2) * 0.4 + 0.5) * top).astype(np.uint16 if bits == 16 else np.uint8)


def _written(pixels: Pixels, *, step: int = 100, threads: int = 1, icc: bytes | None = None) -> bytes:
    file = io.BytesIO()
    height, width, channels = pixels.shape
    layout = Layout(width, height, channels, pixels.dtype.itemsize * 8, Metadata(icc=icc))
    writer = PyramidWriter(file, layout, threads=threads)
    for top in range(0, height, step):
        writer.write(pixels[top : top + step])
    writer.finish()
    writer.close()
    return file.getvalue()


def _reader(data: bytes) -> PyramidReader:
    return PyramidReader(lambda start, length: data[start : start + length], len(data))


def _decoded(data: bytes, mode: str) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(data)).convert(mode)).astype(int)


def test_levels_go_down_to_one_tile() -> None:
    assert [(level.width, level.height) for level in levels_of(2049, 700)] == [
        (2049, 700),
        (1025, 350),
        (513, 175),
        (257, 88),
    ]
    assert [(level.width, level.height) for level in levels_of(512, 1)] == [(512, 1)]
    level = levels_of(1025, 600)[0]
    assert (level.columns, level.rows, level.size_of(2, 1)) == (3, 2, (1, 88))


@pytest.mark.parametrize(("channels", "bits"), [(1, 8), (2, 8), (3, 8), (4, 8), (3, 16)])
def test_every_tile_of_every_level_shows_its_place(channels: int, bits: int) -> None:
    pixels = _smooth(701, 1303, channels, bits=bits)
    if channels in (2, 4):
        pixels[:, :600, -1] = np.iinfo(pixels.dtype).max  # an opaque tile, which WebP writes without alpha
    reader = _reader(_written(pixels, threads=2))
    assert [(level.width, level.height) for level in reader.levels] == [(1303, 701), (652, 351), (326, 176)]
    assert reader.media_type == ("image/webp" if channels in (2, 4) else "image/jpeg")
    mode = {1: "L", 2: "RGBA", 3: "RGB", 4: "RGBA"}[channels]
    shown = pixels >> 8 if bits == 16 else pixels
    whole = Image.fromarray(shown.astype(np.uint8)[:, :, 0] if channels == 1 else shown.astype(np.uint8)).convert(mode)
    for number, level in enumerate(reader.levels):
        expected = np.asarray(whole.resize((level.width, level.height), Image.Resampling.BOX)).astype(int)
        for row in range(level.rows):
            for column in range(level.columns):
                got = _decoded(reader.tile(number, column, row), mode)
                part = expected[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE]
                assert got.shape == part.shape
                assert np.abs(got - part).mean() < 4
        region = reader.region(number, 3, 5, level.width - 2, level.height - 1)
        assert region.shape[:2] == (level.height - 6, level.width - 5)
        assert np.abs(region.astype(int).reshape(*region.shape[:2], -1) - expected.reshape(
            *expected.shape[:2], -1)[5:-1, 3:-2]).mean() < 4  # fmt: skip


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(("height", "width"), [(6, 8), (5, 7), (1, 9), (3, 1), (1, 1)])
def test_each_next_level_is_the_mean_of_four_whatever_alpha_says(height: int, width: int, channels: int) -> None:
    pixels = np.random.default_rng(height).integers(0, 256, (height, width, channels), dtype=np.uint8)
    even = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge").astype(int)
    sums = even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]
    np.testing.assert_array_equal(_halved(pixels), (sums + 2) // 4)


def test_the_same_rows_give_the_same_file_with_any_threads() -> None:
    pixels = samples.scene(600, 1100, 3)
    data = _written(pixels)
    assert data == _written(pixels, step=33, threads=3) == _written(pixels, step=600)


def test_tiles_carry_the_profile_and_missing_ones_are_told() -> None:
    profile = samples.srgb_profile()
    reader = _reader(_written(samples.scene(600, 20, 3), icc=profile))
    assert Image.open(io.BytesIO(reader.tile(0, 0, 1))).info["icc_profile"] == profile
    for tile in ((0, 0, 2), (0, 1, 0), (2, 0, 0), (0, -1, 0), (-1, 0, 0)):
        with pytest.raises(IndexError):
            reader.tile(*tile)


def test_damaged_files_are_told() -> None:
    data = _written(samples.scene(600, 20, 3))
    for damaged in (data[:-1], data[:10], data + b"x", data[:-40] + bytes(40), b"x" * 28):
        with pytest.raises(ValueError, match="pyramid"):
            _reader(damaged)


def test_unfinished_pictures_are_refused_and_the_threads_end() -> None:
    writer = PyramidWriter(io.BytesIO(), Layout(50, 50, 3, 8), threads=2)
    writer.write(samples.scene(30, 50))
    with pytest.raises(ValueError, match="30 rows of 50"):
        writer.finish()
    writer.close()
    writer.close()


def _source(pixels: Pixels) -> tuple[SourceLayout, dict[int, bytes], PyramidReader]:
    kept: dict[int, bytes] = {}
    layout = write_bands(io.BytesIO(samples.encoded("png", pixels)), kept.__setitem__, max_pixels=None)
    file = io.BytesIO()
    write_source_pyramid(layout, kept.__getitem__, file, threads=2)
    return layout, kept, _reader(file.getvalue())


@pytest.mark.parametrize(("channels", "bits"), [(1, 8), (3, 8), (3, 16), (4, 8)])
def test_before_is_pillows_bicubic(channels: int, bits: int) -> None:
    pixels = _smooth(520, 603, channels, bits=bits)
    layout, kept, reader = _source(pixels)
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
    eight = (pixels / 257).round().astype(np.uint8) if bits == 16 else pixels
    image = Image.fromarray(eight[:, :, 0] if channels == 1 else eight)
    for size, box in (
        ((2412, 2080), (0.0, 0.0, 603.0, 520.0)),
        ((1200, 1560), (101.5, 0.0, 501.5, 520.0)),
    ):
        for number, level in enumerate(levels_of(*size)):
            expected = np.asarray(image.resize((level.width, level.height), Image.Resampling.BICUBIC, box)).astype(int)
            for row in range(level.rows):
                for column in {0, level.columns // 2, level.columns - 1}:
                    data, media_type = bicubic_tile(
                        layout, kept.__getitem__, reader, size=size, box=box, tile=(number, column, row)
                    )
                    assert media_type == reader.media_type
                    got = _decoded(data, mode)
                    part = expected[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE]
                    assert got.shape == part.shape
                    assert np.abs(got - part).mean() < 3, (size, number, column, row, np.abs(got - part).mean())
    with pytest.raises(IndexError):
        bicubic_tile(layout, kept.__getitem__, reader, size=(2412, 2080), box=(0, 0, 603, 520), tile=(0, 8, 0))
