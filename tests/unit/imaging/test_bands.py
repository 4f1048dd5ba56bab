"""A source in bands against the same source decoded at once."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.imaging import bands, decode, jpeg_source
from app.imaging.bands import SourceLayout, read_rows, write_bands
from app.imaging.colour import to_srgb
from app.imaging.picture import Metadata, Picture, PictureTooLargeError
from app.imaging.raw_rows import pack, unpack
from tests.unit.imaging import samples


@pytest.fixture
def streaming(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small pictures take the way of large ones."""
    monkeypatch.setattr(decode, "STREAMED_PIXELS", 0)


def _in_bands(data: bytes, **options: Any) -> tuple[SourceLayout, dict[int, bytes]]:
    kept: dict[int, bytes] = {}
    layout = write_bands(io.BytesIO(data), kept.__setitem__, max_pixels=None, **options)
    assert sorted(kept) == list(range(layout.bands))
    return SourceLayout.from_json(json.loads(json.dumps(layout.to_json()))), kept


def _check_same(layout: SourceLayout, kept: dict[int, bytes], expected: Picture) -> None:
    got = read_rows(layout, kept.__getitem__, 0, layout.height)
    np.testing.assert_array_equal(got.pixels, expected.pixels)
    assert got.pixels.dtype == expected.pixels.dtype
    assert (got.alpha is None) == (expected.alpha is None)
    if expected.alpha is not None:
        np.testing.assert_array_equal(got.alpha, expected.alpha)
    assert (got.source_format, got.metadata, got.notices) == (
        expected.source_format,
        expected.metadata,
        expected.notices,
    )


@pytest.mark.parametrize("name", samples.SEEDS)
@pytest.mark.parametrize("band_rows", [7, 128])
def test_bands_hold_what_decode_gives(name: str, band_rows: int) -> None:
    data = samples.SEEDS[name]()
    layout, kept = _in_bands(data, band_rows=band_rows)
    _check_same(layout, kept, decode.decode(io.BytesIO(data), max_pixels=None))


def _whole(data: bytes, monkeypatch: pytest.MonkeyPatch) -> Picture:
    with monkeypatch.context() as patch:
        patch.setattr(decode, "STREAMED_PIXELS", 10**9)
        return decode.decode(io.BytesIO(data), max_pixels=None)


@pytest.mark.parametrize("name", samples.SEEDS)
def test_streamed_rows_are_those_of_the_whole_decode(
    name: str, monkeypatch: pytest.MonkeyPatch, streaming: None
) -> None:
    data = samples.SEEDS[name]()
    layout, kept = _in_bands(data, band_rows=16)
    _check_same(layout, kept, _whole(data, monkeypatch))


_PLAIN = {
    f"{form} {options.get('subsampling', '')}{options.get('compression', '')} {channels}": (form, channels, options)
    for form, channels, options in [
        *(("JPEG", 3, {"subsampling": sub, "quality": 80}) for sub in ("4:4:4", "4:2:2", "4:2:0")),
        ("JPEG", 1, {}),
        *(("PNG", channels, {}) for channels in (1, 2, 3, 4)),
        *(("TIFF", channels, {"compression": way}) for channels in (1, 3, 4) for way in ("raw", "tiff_lzw")),
        ("TIFF", 3, {"compression": "tiff_adobe_deflate"}),
    ]
}


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("case", _PLAIN)
def test_common_kinds_stream_and_are_the_same_turned_every_way(
    case: str, turn: int, monkeypatch: pytest.MonkeyPatch, streaming: None
) -> None:
    form, channels, options = _PLAIN[case]
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]
    exif = Image.Exif()
    exif[samples.ORIENTATION] = turn
    image = Image.fromarray(samples.scene(203, 301, 4)).convert(mode)
    data = samples.saved(image, form, exif=exif, **options)
    with decode.open_rows(io.BytesIO(data), max_pixels=None) as rows:
        assert rows.columns is None, "not streamed"
    layout, kept = _in_bands(data, band_rows=50)
    expected = _whole(data, monkeypatch)
    _check_same(layout, kept, expected)
    assert (layout.height, layout.width) == ((203, 301) if turn < 5 else (301, 203))
    # And without streaming, where turned pictures are read by their columns.
    with monkeypatch.context() as patch:
        patch.setattr(decode, "STREAMED_PIXELS", 10**9)
        _check_same(*_in_bands(data, band_rows=50), expected)


@pytest.mark.parametrize("turn", [1, 4, 7])
def test_16_bits_with_alpha_turned(turn: int) -> None:
    data = samples.encoded("png", samples.scene(83, 61, 4, bits=16), metadata=Metadata(exif=samples.exif_with(turn)))
    _check_same(*_in_bands(data, band_rows=20), decode.decode(io.BytesIO(data), max_pixels=None))


def test_xmp_behind_the_pixels_is_found_while_streaming(monkeypatch: pytest.MonkeyPatch, streaming: None) -> None:
    plain = samples.saved(samples.scene(), "PNG")
    packet = samples.XMP % 6
    chunk = samples.chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet)
    data = plain[:-12] + chunk + plain[-12:]
    layout, kept = _in_bands(data)
    assert layout.metadata.xmp is not None
    _check_same(layout, kept, _whole(data, monkeypatch))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [3, 4])
def test_stripping_converts_as_the_synchronous_way_does(bits: int, channels: int) -> None:
    found = Metadata(icc=samples.swapped_profile(), dpi=(300, 300))
    data = samples.encoded("png", samples.scene(channels=channels, bits=bits), metadata=found)
    expected = to_srgb(decode.decode(io.BytesIO(data), max_pixels=None))
    layout, kept = _in_bands(data, band_rows=11, metadata="strip")
    _check_same(layout, kept, expected)
    assert not np.array_equal(expected.pixels, decode.decode(io.BytesIO(data), max_pixels=None).pixels)


@pytest.mark.parametrize(("last", "expected"), [(200, 200), (201, None)])
def test_alpha_that_does_not_vary_is_told(last: int, expected: int | None) -> None:
    pixels = np.full((40, 30, 4), 200, np.uint8)
    pixels[-1, -1, 3] = last
    layout, _ = _in_bands(samples.saved(pixels, "PNG"), band_rows=8)
    assert (layout.channels, layout.constant_alpha) == (4, expected)
    opaque, _ = _in_bands(samples.saved(pixels[:, :, :3].copy(), "PNG"))
    assert opaque.constant_alpha is None


def test_any_rows_can_be_read() -> None:
    pixels = samples.scene(50, 20, 4)
    layout, kept = _in_bands(samples.saved(pixels, "PNG"), band_rows=16)
    for top, bottom in ((0, 1), (15, 17), (3, 49), (48, 50)):
        part = read_rows(layout, kept.__getitem__, top, bottom)
        np.testing.assert_array_equal(part.pixels, pixels[top:bottom, :, :3])
        np.testing.assert_array_equal(part.alpha, pixels[top:bottom, :, 3])
    with pytest.raises(ValueError, match="rows 3 to 51"):
        read_rows(layout, kept.__getitem__, 3, 51)
    with pytest.raises(ValueError, match="band 0 holds"):
        read_rows(layout, lambda _: kept[3], 0, 5)


def test_packed_rows_that_were_cut_or_are_none_are_refused() -> None:
    rows = samples.scene(30, 20, bits=16)
    packed = pack(rows[:10]) + pack(rows[10:])
    np.testing.assert_array_equal(np.concatenate(list(unpack(packed))), rows)
    for damaged in (packed[:-1], packed[:5], b"x" * 40, packed[:-20] + bytes(20)):
        with pytest.raises(ValueError, match="packed rows"):
            list(unpack(damaged))


def test_what_must_be_decoded_whole_is_refused_early_with_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bands, "_MOST_BYTES", 40 * 56 * 5)
    for name in ("jpeg", "png", "tiff", "bmp"):
        _in_bands(samples.SEEDS[name]())  # 4 bytes a pixel
    for data, most in (
        (samples.SEEDS["webp"](), 40 * 56 * 5 // 13),
        # Coefficients at 4:2:0 (3 bytes) beside Pillow's picture (4).
        (samples.SEEDS["jpeg-progressive"](), 40 * 56 * 5 // 7),
    ):
        with pytest.raises(PictureTooLargeError) as refused:
            _in_bands(data)
        assert refused.value.limit == most
        assert f"{most:,} pixels" in refused.value.message


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 0),
        ({"progressive": True, "subsampling": "4:2:0"}, 3),
        ({"progressive": True, "subsampling": "4:2:2"}, 4),
        ({"progressive": True, "subsampling": "4:4:4"}, 6),
    ],
)
def test_what_a_jpeg_makes_its_decoder_hold(options: dict[str, Any], expected: float) -> None:
    file = io.BytesIO(samples.saved(samples.scene(), "JPEG", **options))
    file.seek(5)
    assert jpeg_source.held_bytes_per_pixel(file) == expected
    assert file.tell() == 5


def test_what_the_sink_raises_is_passed_on() -> None:
    def full(_number: int, _data: bytes) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_bands(io.BytesIO(samples.SEEDS["png"]()), full, max_pixels=None)
