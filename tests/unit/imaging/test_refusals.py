"""Files that are not read: the error's class, its stable code, and what its sentence says."""

from __future__ import annotations

import io
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from app.imaging import jpeg_source
from app.imaging.decode import decode
from app.imaging.header import read_header
from app.imaging.picture import (
    BrokenPictureError,
    ImagingError,
    PictureTooLargeError,
    UnsupportedPictureError,
)
from tests.unit.imaging import samples


def refusal(data: bytes, *, max_pixels: int | None = None) -> ImagingError:
    with pytest.raises(ImagingError) as caught:
        decode(io.BytesIO(data), max_pixels=max_pixels)
    assert caught.value.message.endswith(".")
    return caught.value


def test_no_bytes() -> None:
    error = refusal(b"")
    assert isinstance(error, BrokenPictureError)
    assert error.code == "empty_file"


@pytest.mark.parametrize(
    "data",
    [b"hello, world", b"%PDF-1.7\n" + bytes(100), b"8BPS" + bytes(60), b"<svg xmlns='x'/>", bytes(100), b"\xff"],
)
def test_other_kinds_of_file(data: bytes) -> None:
    error = refusal(data)
    assert isinstance(error, UnsupportedPictureError)
    assert error.code == "unsupported_format"
    assert "PNG" in error.message


@pytest.mark.parametrize("form", ["TGA", "PPM", "ICO", "PCX", "SGI"])
def test_formats_that_pillow_could_read_but_we_do_not_offer(form: str) -> None:
    assert refusal(samples.saved(samples.scene(), form)).code == "unsupported_format"


def test_an_animated_cursor_is_not_webp() -> None:
    assert refusal(b"RIFF" + bytes(4) + b"ACON" + bytes(40)).code == "unsupported_format"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_big_endian_bigtiff_is_named_and_not_called_damaged(dtype: type) -> None:
    error = refusal(samples.tiff(np.zeros((5, 7, 3), dtype), photometric="rgb", bigtiff=True, byteorder=">"))
    assert isinstance(error, UnsupportedPictureError)
    assert error.code == "unsupported_samples"
    assert "big-endian" in error.message


@pytest.mark.parametrize(
    ("dtype", "word"),
    [
        (np.float16, "floating-point"),
        (np.float32, "floating-point"),
        (np.float64, "floating-point"),
        (np.int8, "signed"),
        (np.int16, "signed"),
        (np.uint32, "32"),
        (np.uint64, "64"),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_tiff_samples_that_are_not_read(dtype: type, word: str, channels: int) -> None:
    pixels = np.ones((4, 5, 3) if channels == 3 else (4, 5), dtype)
    error = refusal(samples.tiff(pixels, photometric="rgb" if channels == 3 else "minisblack"))
    assert isinstance(error, UnsupportedPictureError)
    assert error.code == "unsupported_samples"
    assert word in error.message
    assert "8 or 16 bits" in error.message


@pytest.mark.parametrize("compression", ["lzma", "zstd"])
def test_a_compression_of_16_bit_tiff_that_is_not_read_is_named_and_not_called_damaged(compression: str) -> None:
    # The same compression is read where samples have 8 bits.
    eight = np.arange(20, dtype=np.uint8).reshape(4, 5)
    read = decode(io.BytesIO(samples.saved(Image.fromarray(eight), "TIFF", compression=compression)), max_pixels=None)
    assert np.array_equal(read.pixels[:, :, 0], eight)
    wide = Image.fromarray(eight.astype(np.uint16) * 257)
    error = refusal(samples.saved(wide, "TIFF", compression=compression))
    assert isinstance(error, UnsupportedPictureError)
    assert error.code == "unsupported_samples"
    assert {"lzma": "LZMA", "zstd": "Zstandard"}[compression] in error.message
    assert "LZW" in error.message


@pytest.mark.parametrize("bits", [8, 16])
def test_a_tiff_compressed_with_webp_is_not_called_damaged(bits: int) -> None:
    data = samples.tiff(np.zeros((4, 5), f"uint{bits}"))
    entry = struct.pack("<HHI", 259, 3, 1)
    assert data.count(entry) == 1
    error = refusal(data.replace(entry + struct.pack("<I", 1), entry + struct.pack("<I", 50001)))
    assert isinstance(error, UnsupportedPictureError)
    assert "WebP" in error.message


def test_16_bit_cmyk_tiff() -> None:
    error = refusal(samples.tiff(np.ones((4, 5, 4), np.uint16), photometric="separated"))
    assert error.code == "unsupported_samples"


# Of these the first frame may be complete in half a file.
_SEVERAL_FRAMES = {"apng", "webp-animated", "gif", "mpo"}


@pytest.mark.parametrize("name", sorted(set(samples.SEEDS) - _SEVERAL_FRAMES))
def test_truncated_files(name: str) -> None:
    data = samples.SEEDS[name]()
    error = refusal(data[: len(data) // 2])
    assert isinstance(error, BrokenPictureError)


@pytest.mark.parametrize("name", sorted(samples.SEEDS))
def test_files_cut_after_their_signature(name: str) -> None:
    assert isinstance(refusal(samples.SEEDS[name]()[:16]), BrokenPictureError)


def test_a_limit_is_checked_before_decoding() -> None:
    # The header promises 30,000 x 30,000 pixels and there are none: only a check before decoding answers 413.
    error = refusal(samples.png(30_000, 30_000, 8, 2, b""), max_pixels=100_000_000)
    assert isinstance(error, PictureTooLargeError)
    assert error.code == "too_many_pixels"
    assert error.limit == 100_000_000
    assert "30000 x 30000" in error.message


def test_the_limit_itself_passes() -> None:
    data = samples.saved(samples.scene(), "PNG")
    assert decode(io.BytesIO(data), max_pixels=40 * 56).width == 56
    assert refusal(data, max_pixels=40 * 56 - 1).code == "too_many_pixels"


def test_headers_beyond_pillows_own_limit_are_read_without_a_warning(recwarn) -> None:
    header = read_header(io.BytesIO(samples.png(20_000, 20_000, 8, 2, b"")))
    assert (header.width, header.height) == (20_000, 20_000)
    assert not recwarn.list


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("iCCP", b"p\0\0" + zlib.compress(bytes(300_000_000), 9)),
        ("zTXt", b"p\0\0" + zlib.compress(bytes(300_000_000), 9)),
        ("iTXt", b"p\0\1\0\0\0" + zlib.compress(bytes(300_000_000), 9)),
    ],
    ids=["iCCP", "zTXt", "iTXt"],
)
def test_a_compressed_chunk_of_300_mb_ends_early(kind: str, data: bytes) -> None:
    import tracemalloc

    bomb = samples.png(1, 1, 8, 2, b"\0abc", **{kind: data})
    assert len(bomb) < 400_000
    tracemalloc.start()
    started = time.perf_counter()
    try:
        decode(io.BytesIO(bomb), max_pixels=None)
    except BrokenPictureError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert time.perf_counter() - started < 2
    assert peak < 30_000_000


def test_more_pixel_data_than_the_header_says_ends_early() -> None:
    bomb = samples.png(1, 1, 8, 2, bytes(100_000_000))
    started = time.perf_counter()
    decode(io.BytesIO(bomb), max_pixels=100)
    assert time.perf_counter() - started < 1


def test_a_gif_frame_larger_than_its_screen_counts() -> None:
    data = bytearray(samples.saved(Image.new("P", (2, 2)), "GIF"))
    frame = data.index(b"\x2c")
    data[frame + 5 : frame + 9] = struct.pack("<HH", 60_000, 60_000)
    assert refusal(bytes(data), max_pixels=1_000_000).code == "too_many_pixels"


def test_a_jpeg_of_endless_scans() -> None:
    data = samples.saved(samples.scene(), "JPEG", progressive=True)
    scan = data.rindex(b"\xff\xda")
    bomb = data[:scan] + data[scan:-2] * (jpeg_source.MAX_SCANS + 1) + data[-2:]
    error = refusal(bomb)
    assert error.code == "too_many_scans"
    assert error.limit == jpeg_source.MAX_SCANS


def test_scan_counting_passes_over_thumbnails_restarts_and_chunk_edges(monkeypatch) -> None:
    data = samples.saved(
        samples.scene(200, 200), "JPEG", progressive=True, restart_marker_blocks=1, exif=b"Exif\0\0" + b"\xff\xda" * 999
    )
    for chunk in (1, 2, 3, 1 << 20):
        monkeypatch.setattr(jpeg_source, "_CHUNK", chunk)
        jpeg_source.check_scans(io.BytesIO(data))


def test_a_tiff_whose_directories_form_a_loop() -> None:
    data = bytearray(samples.tiff(samples.scene(), photometric="rgb"))
    first = struct.unpack_from("<I", data, 4)[0]
    entries = struct.unpack_from("<H", data, first)[0]
    struct.pack_into("<I", data, first + 2 + 12 * entries, first)
    assert read_header(io.BytesIO(bytes(data))).frames == 1


def test_a_million_gif_frames_are_not_counted() -> None:
    data = samples.saved(Image.new("P", (1, 1)), "GIF")
    frame = data[data.index(b"\x2c") : -1]
    started = time.perf_counter()
    header = read_header(io.BytesIO(data[:-1] + frame * 1_000_000 + b";"))
    assert header.frames == 1000
    assert time.perf_counter() - started < 1


def test_heic_without_its_decoder_names_jpeg(monkeypatch) -> None:
    data = samples.SEEDS["heic"]()
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    error = refusal(data)
    assert isinstance(error, UnsupportedPictureError)
    assert error.code == "heic_not_supported"
    assert "JPEG" in error.message


def test_a_crc_error_in_16_bit_png() -> None:
    data = bytearray(samples.encoded("png", samples.scene(channels=4, bits=16)))
    at = data.index(b"IDAT") + 40
    data[at] ^= 0xFF
    assert isinstance(refusal(bytes(data)), BrokenPictureError)


def test_an_error_of_ours_is_not_called_a_broken_picture(monkeypatch) -> None:
    def bug(*_: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr("app.imaging.decode.stored_view", bug)
    with pytest.raises(KeyError):
        decode(io.BytesIO(samples.saved(samples.scene(), "PNG")), max_pixels=None)
