"""Rows to files: every layout of every format, the same bytes whatever the threads and the grouping."""

from __future__ import annotations

import io
import struct
import threading
import zlib

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from app.imaging import formats, jpeg_writer, png_writer, tiff_writer
from app.imaging.decode import decode
from app.imaging.encode import open_encoder
from app.imaging.formats import FORMATS, check_holds, choose_format
from app.imaging.picture import FormatCannotHoldError, Layout, Metadata
from app.imaging.row_counter import to_8_bit
from tests.unit.imaging import samples

STILL = [name for name, form in FORMATS.items() if form.stands_still]

_ALPHA_FREE = ("jpeg",)


def _cases() -> list[tuple[str, int, int]]:
    return [
        (form, bits, channels)
        for form in STILL
        for bits in (8, 16)
        for channels in (1, 2, 3, 4)
        if FORMATS[form].holds_alpha or channels in (1, 3)
    ]


@pytest.mark.parametrize(("form", "bits", "channels"), _cases())
def test_grouping_and_threads_do_not_change_the_bytes(form: str, bits: int, channels: int) -> None:
    scene = samples.scene(300, 700, channels, bits=bits)
    whole = samples.encoded(form, scene)
    assert samples.encoded(form, scene, sizes=(1, 7, 64), threads=3) == whole
    assert samples.encoded(form, scene, sizes=(255,), threads=2) == whole


@pytest.mark.parametrize("form", ["png", "tiff"])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (257, 300), (1, 1000), (1000, 1), (530, 513)])
def test_lossless(form: str, bits: int, channels: int, size: tuple[int, int]) -> None:
    scene = samples.scene(*size, channels, bits=bits)
    data = samples.encoded(form, scene, sizes=(100,), threads=2)
    if form == "tiff":
        read = tifffile.imread(io.BytesIO(data)).reshape(scene.shape)
    else:
        picture = decode(io.BytesIO(data), max_pixels=None)
        read = picture.pixels if picture.alpha is None else np.dstack([picture.pixels, picture.alpha])
    np.testing.assert_array_equal(read, scene)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("quality", [92, 97])
@pytest.mark.parametrize("height", [1, 128, 129, 1500])
def test_jpeg_strips_equal_one_whole_encode(channels: int, quality: int, height: int) -> None:
    scene = samples.scene(height, 4100, channels)  # so wide that a strip is 128 rows
    metadata = Metadata(samples.srgb_profile(), samples.exif_with(1), samples.XMP % 1, (300, 300))
    expected = samples.saved(scene, "JPEG", **jpeg_writer.options(metadata, quality))
    assert samples.encoded("jpeg", scene, sizes=(37,), quality=quality, metadata=metadata) == expected


def test_jpeg_of_16_bit_rows_is_that_of_rounded_rows() -> None:
    scene = samples.scene(bits=16)
    assert samples.encoded("jpeg", scene) == samples.encoded("jpeg", np.rint(scene / 257).astype(np.uint8))


def test_rounding_to_8_bit_is_exact() -> None:
    levels = np.arange(65_536).astype(np.uint16)
    np.testing.assert_array_equal(to_8_bit(levels), np.rint(levels / 257))


@pytest.mark.parametrize("form", ["jpeg", "webp", "avif"])
def test_quality_changes_the_size(form: str) -> None:
    scene = samples.scene(200, 200)
    sizes = [len(samples.encoded(form, scene, quality=quality)) for quality in (20, None, 100)]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) == 3


@pytest.mark.parametrize("form", ["webp", "avif"])
def test_16_bit_alpha_survives_as_8_bit(form: str) -> None:
    scene = samples.scene(channels=4, bits=16)
    picture = decode(io.BytesIO(samples.encoded(form, scene, quality=95)), max_pixels=None)
    assert picture.alpha is not None
    assert np.abs(picture.alpha - scene[:, :, 3] / 257).mean() < 4


@pytest.mark.parametrize("quality", [0, 101, -1])
def test_a_quality_that_does_not_exist(quality: int) -> None:
    with pytest.raises(ValueError, match="1 to 100"):
        open_encoder("jpeg", io.BytesIO(), Layout(1, 1, 3, 8), quality=quality)


@pytest.mark.parametrize("form", STILL)
def test_rows_are_checked(form: str) -> None:
    layout = Layout(5, 4, 3, 8)
    encoder = open_encoder(form, io.BytesIO(), layout)
    for wrong in (
        np.zeros((1, 5, 4), np.uint8),
        np.zeros((1, 6, 3), np.uint8),
        np.zeros((1, 5, 3), np.uint16),
        np.zeros((5, 5, 3), np.uint8),
        np.zeros((5, 3), np.uint8),
    ):
        with pytest.raises(ValueError, match="rows"):
            encoder.write(wrong)
    encoder.write(np.zeros((3, 5, 3), np.uint8))
    with pytest.raises(ValueError, match="3 rows of 4"):
        encoder.finish()
    encoder.close()
    encoder.close()


@pytest.mark.parametrize("form", STILL)
def test_rows_may_be_reused_and_need_not_be_contiguous(form: str) -> None:
    scene = samples.scene(600, 300)
    file = io.BytesIO()
    encoder = open_encoder(form, file, Layout(300, 600, 3, 8), threads=2)
    wide = np.zeros((60, 600, 3), np.uint8)
    for top in range(0, 600, 60):
        wide[:, ::2] = scene[top : top + 60]
        encoder.write(wide[:, ::2])
        wide[:] = 255
    encoder.finish()
    encoder.close()
    assert file.getvalue() == samples.encoded(form, scene)


@pytest.mark.parametrize("form", STILL)
def test_close_ends_all_threads_at_any_point(form: str) -> None:
    before = set(threading.enumerate())
    for rows in (0, 1, 700):
        encoder = open_encoder(form, io.BytesIO(), Layout(900, 1000, 3, 8), threads=2)
        if rows:
            encoder.write(samples.scene(rows, 900))
        encoder.close()
        encoder.close()
    assert set(threading.enumerate()) <= before


class _FullDisk(io.BytesIO):
    """Fails once a set number of bytes is written."""

    def write(self, data) -> int:
        if self.tell() + len(bytes(data)) > 100_000:
            raise OSError(28, "No space left on device")
        return super().write(data)


@pytest.mark.parametrize("form", ["png", "tiff", "jpeg"])
def test_a_full_disk_is_reported_and_does_not_hang(form: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (256, 2000, 3), dtype=np.uint8)
    encoder = open_encoder(form, _FullDisk(), Layout(2000, 2560, 3, 8), threads=2)

    def write_all() -> None:
        for _ in range(10):
            encoder.write(noise)
        encoder.finish()

    with pytest.raises(OSError, match="No space"):
        write_all()
    encoder.close()


def _chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 8
    while at < len(data):
        length = struct.unpack_from(">I", data, at)[0]
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", data, at + 8 + length)[0] == zlib.crc32(kind + body)
        found.append((kind, body))
        at += 12 + length
    return found


def test_png_chunks_are_in_order_and_correct() -> None:
    metadata = Metadata(samples.srgb_profile(), samples.exif_with(1), samples.XMP % 1, (300, 150))
    scene = samples.scene(600, 800)
    chunks = _chunks(samples.encoded("png", scene, metadata=metadata, threads=2))
    kinds = [kind for kind, _ in chunks]
    pixels = kinds.count(b"IDAT")
    assert pixels > 3
    assert kinds == [b"IHDR", b"iCCP", b"pHYs", b"eXIf", b"iTXt", *[b"IDAT"] * pixels, b"IEND"]
    # zlib itself checks the joined stream: header, every block, Adler-32.
    raw = zlib.decompress(b"".join(body for kind, body in chunks if kind == b"IDAT"))
    assert len(raw) == 600 * (1 + 800 * 3)
    assert struct.unpack(">IIB", dict(chunks)[b"pHYs"]) == (11_811, 5_906, 1)


@given(st.binary(max_size=4000), st.binary(max_size=4000))
@settings(max_examples=50, deadline=None)
def test_adler_of_two_pieces(first: bytes, second: bytes) -> None:
    joined = png_writer._combine_adler(zlib.adler32(first), zlib.adler32(second), len(second))
    assert joined == zlib.adler32(first + second)


def test_png_size_against_pillow() -> None:
    small = Image.fromarray(samples.scene(200, 200))
    scene = np.asarray(small.resize((800, 800), Image.Resampling.LANCZOS))
    assert len(samples.encoded("png", scene)) < 1.15 * len(samples.saved(scene, "PNG", compress_level=1))


def test_tiff_becomes_big_where_it_could_pass_4_gb(monkeypatch) -> None:
    scene = samples.scene(300, 400, 4)
    metadata = Metadata(samples.srgb_profile(), samples.exif_with(1), samples.XMP % 1, (300, 300))
    small = samples.encoded("tiff", scene, metadata=metadata)
    assert small[:4] == b"II*\0"
    monkeypatch.setattr(tiff_writer, "_CLASSIC_BYTES", 1000)
    big = samples.encoded("tiff", scene, metadata=metadata)
    assert big[:4] == b"II+\0"
    first, second = (decode(io.BytesIO(data), max_pixels=None) for data in (small, big))
    np.testing.assert_array_equal(first.pixels, second.pixels)
    np.testing.assert_array_equal(first.alpha, second.alpha)
    assert first.metadata == second.metadata
    assert first.metadata.exif is not None


def test_tiff_tags() -> None:
    with tifffile.TiffFile(io.BytesIO(samples.encoded("tiff", samples.scene(300, 400, 4)))) as file:
        page = file.pages[0]
        assert (page.tilewidth, page.tilelength) == (256, 256)
        assert [int(sample) for sample in page.extrasamples] == [2]  # straight alpha
        assert page.photometric == 2
        assert "Software" not in page.tags
        assert "ImageDescription" not in page.tags


@pytest.mark.parametrize("form", sorted(FORMATS))
@pytest.mark.parametrize("source", ["png", "jpeg", "webp", "avif", "tiff", "bmp", "gif", "heic"])
def test_an_explicit_format_wins(form: str, source: str) -> None:
    assert choose_format(form, source) == form


@pytest.mark.parametrize(
    ("source", "expected"),
    [*((name, name) for name in STILL), ("bmp", "png"), ("gif", "png"), ("heic", "jpeg")],
)
def test_same(source: str, expected: str) -> None:
    assert choose_format("same", source) == expected


@pytest.mark.parametrize(("source", "expected"), [("gif", "gif"), ("png", "apng"), ("webp", "webp"), ("avif", "avif")])
def test_same_of_an_animation(source: str, expected: str) -> None:
    assert choose_format("same", source, frames=2) == expected


@pytest.mark.parametrize("name", ["heic", "PNG", "", "bmp"])
def test_a_format_that_is_not_written(name: str) -> None:
    with pytest.raises(ValueError, match="png"):
        choose_format(name, "png")


@pytest.mark.parametrize(
    ("form", "layout", "limit", "named"),
    [
        ("jpeg", Layout(10, 10, 4, 8), None, "png or webp or avif or tiff"),
        ("jpeg", Layout(10, 10, 2, 8), None, "png"),
        ("jpeg", Layout(65_501, 10, 3, 8), 65_500, "png"),
        ("jpeg", Layout(10, 65_501, 3, 8), 65_500, "tiff"),
        ("webp", Layout(16_384, 1, 3, 8), 16_383, "jpeg"),
        ("webp", Layout(8000, 4001, 4, 8), 32_000_000, "png or tiff."),
        ("avif", Layout(65_536, 1, 3, 8), 65_535, "png"),
        ("avif", Layout(8000, 4001, 3, 8), 32_000_000, "jpeg"),
    ],
)
def test_what_a_format_cannot_hold(form: str, layout: Layout, limit: int | None, named: str) -> None:
    with pytest.raises(FormatCannotHoldError) as caught:
        check_holds(form, layout)
    assert caught.value.code == "format_cannot_hold"
    assert caught.value.limit == limit
    assert named in caught.value.message


@pytest.mark.parametrize(
    ("form", "layout"),
    [
        ("jpeg", Layout(65_500, 65_500, 3, 16)),
        ("webp", Layout(16_383, 1, 4, 16)),
        ("avif", Layout(8000, 4000, 4, 16)),
        ("png", Layout(200_000, 200_000, 4, 16)),
        ("tiff", Layout(200_000, 200_000, 4, 16)),
    ],
)
def test_what_a_format_holds(form: str, layout: Layout) -> None:
    check_holds(form, layout)


def test_the_largest_jpeg_edge_is_written() -> None:
    scene = np.full((1, FORMATS["jpeg"].max_edge, 3), 90, np.uint8)
    assert Image.open(io.BytesIO(samples.encoded("jpeg", scene))).size == (65_500, 1)


def test_every_media_type_and_extension() -> None:
    assert {form.media_type for form in formats.FORMATS.values()} == {
        "image/png",
        "image/jpeg",
        "image/webp",
        "image/avif",
        "image/tiff",
        "image/gif",
        "image/apng",
    }
    extensions = [form.extension for form in formats.FORMATS.values()]
    assert extensions == ["png", "jpg", "webp", "avif", "tif", "gif", "png"]
