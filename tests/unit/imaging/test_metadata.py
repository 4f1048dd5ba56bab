"""ICC profile, EXIF, XMP and resolution: from the source, through every format, fit for the output."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from app.imaging import exif as exif_block
from app.imaging.decode import decode
from app.imaging.encode import open_encoder
from app.imaging.metadata import for_output, plausible_dpi
from app.imaging.picture import Layout, Metadata
from tests.unit.imaging import samples

THUMBNAIL = b"\xff\xd8the part that was cropped away\xff\xd9"
MAKE, X_RESOLUTION, EXIF, MAKER_NOTE, WIDTH, HEIGHT = 0x010F, 0x011A, 0x8769, 0x927C, 0xA002, 0xA003


def tags(block: bytes | None) -> tuple[Image.Exif, dict]:
    """The main and the EXIF directory."""
    assert block is not None
    exif = Image.Exif()
    exif.load(b"Exif\0\0" + block)
    return exif, exif.get_ifd(EXIF)


def metadata_of(data: bytes) -> Metadata:
    return decode(io.BytesIO(data), max_pixels=None).metadata


def full(orientation: int = 6) -> Metadata:
    exif = samples.exif_with(orientation, thumbnail=THUMBNAIL)
    return Metadata(samples.srgb_profile(), exif, samples.XMP % orientation, (72.0, 72.0))


def test_exif_is_reset_in_place_and_loses_its_thumbnail() -> None:
    before = samples.exif_with(6, thumbnail=THUMBNAIL)
    after = exif_block.upright(before)
    assert after is not None
    assert b"cropped away" not in after
    main, inner = tags(after)
    assert main[samples.ORIENTATION] == 1
    assert main[MAKE] == "Chetko"
    assert not main.get_ifd(1)
    assert inner[MAKER_NOTE].startswith(b"note:")
    # A maker note holds offsets into the whole block: it must not have moved.
    assert after.index(b"note:") == before.index(b"note:")


def test_a_thumbnail_in_the_middle_is_blanked() -> None:
    block = samples.exif_with(6, thumbnail=THUMBNAIL) + b"a trailer longer than any padding"
    after = exif_block.upright(block)
    assert after is not None
    assert b"cropped away" not in after
    assert after.endswith(b"any padding")


def test_resized_exif() -> None:
    after = exif_block.resized(samples.exif_with(1), scale=4, width=224, height=70_000)
    main, inner = tags(after)
    assert main[X_RESOLUTION] == 288
    assert inner[WIDTH] == 224
    assert inner[HEIGHT] == 70_000  # does not fit the SHORT it was stored as


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_bytes_as_exif(noise: bytes) -> None:
    for block in (noise, b"II*\0\x08\0\0\0" + noise, b"MM\0*\0\0\0\x08" + noise):
        assert exif_block.orientation(block) in range(1, 9)
        exif_block.upright(block)
        exif_block.resized(block, scale=2.0, width=100, height=100)


@given(st.integers(8, 200), st.binary(min_size=1, max_size=4))
@settings(max_examples=200, deadline=None)
def test_bent_exif(at: int, bytes_there: bytes) -> None:
    block = bytearray(samples.exif_with(6, thumbnail=THUMBNAIL))
    block[at : at + len(bytes_there)] = bytes_there
    exif_block.orientation(bytes(block))
    exif_block.upright(bytes(block))
    exif_block.resized(bytes(block), scale=2.0, width=100, height=100)


@pytest.mark.parametrize("value", [0, 9, 65_535])
def test_an_orientation_that_does_not_exist_is_upright(value: int) -> None:
    assert exif_block.orientation(samples.exif_with(value)) == 1


@pytest.mark.parametrize("form", ["png", "jpeg", "webp", "avif", "tiff"])
def test_all_metadata_goes_through_every_format(form: str) -> None:
    source = metadata_of(samples.encoded("png", samples.scene(), metadata=full()))
    output = for_output(source, scale=4, width=160, height=224, keep=True)
    data = samples.encoded(form, samples.scene(224, 160), metadata=output)
    read = metadata_of(data)
    assert read.icc == samples.srgb_profile()
    main, inner = tags(read.exif)
    assert main.get(samples.ORIENTATION, 1) == 1
    assert main[MAKE] == "Chetko"
    assert (inner[WIDTH], inner[HEIGHT]) == (160, 224)
    assert inner[MAKER_NOTE].startswith(b"note:")
    assert b"cropped away" not in data
    assert read.xmp is not None
    assert b'tiff:Orientation="1"' in read.xmp
    assert b'tiff:ImageWidth="160"' in read.xmp
    assert b'exif:PixelYDimension="224"' in read.xmp
    assert b'tiff:XResolution="288/1"' in read.xmp
    assert b"<dc:title>Snow</dc:title>" in read.xmp
    if form in ("png", "jpeg", "tiff"):
        assert read.dpi == pytest.approx((288, 288), rel=2e-4)
    # And other readers see the same.
    image = Image.open(io.BytesIO(data))
    assert image.getexif()[MAKE] == "Chetko"
    assert image.getexif().get_ifd(EXIF)[WIDTH] == 160


def test_stripped_files_hold_none_of_it() -> None:
    for form in ("png", "jpeg", "webp", "avif", "tiff"):
        output = for_output(full(), scale=2, width=112, height=80, keep=False)
        assert output == Metadata()
        data = samples.encoded(form, samples.scene(80, 112), metadata=output)
        read = metadata_of(data)
        assert (read.icc, read.exif, read.xmp, read.dpi) == (None, None, None, None)
        for trace in (b"Chetko", b"Snow", b"sRGB built-in"):
            assert trace not in data


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "AVIF", "TIFF"])
def test_metadata_of_files_that_others_wrote(form: str) -> None:
    exif = Image.Exif()
    exif[MAKE] = "Camera"
    if form != "TIFF":  # Pillow does not write it there
        exif.get_ifd(0x8825)[1] = "N"  # GPS latitude reference
    options = {"xmp": samples.XMP % 3} if form in ("JPEG", "WEBP", "AVIF") else {}
    if form == "TIFF":
        exif[700] = samples.XMP % 3
    if form == "PNG":
        from PIL.PngImagePlugin import PngInfo

        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", (samples.XMP % 3).decode())
    profile = samples.srgb_profile()
    read = metadata_of(samples.saved(samples.scene(), form, exif=exif, icc_profile=profile, dpi=(96, 96), **options))
    assert read.icc == profile
    assert read.xmp is not None
    assert b'tiff:Orientation="1"' in read.xmp
    main, _ = tags(read.exif)
    assert main[MAKE] == "Camera"
    assert form == "TIFF" or main.get_ifd(0x8825)[1] == "N"
    if form in ("PNG", "JPEG", "TIFF"):
        assert read.dpi == pytest.approx((96, 96), rel=1e-3)


@pytest.mark.parametrize("metadata", [{}, {"metadata": {"axes": "YXS"}}, {"ome": True}, {"imagej": True}])
def test_a_description_of_the_old_pixels_is_left_out(metadata: dict, caplog: pytest.LogCaptureFixture) -> None:
    """Scientific programs write the sizes there, and believe them."""
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((20, 30, 3), np.uint8), photometric="rgb", software="tifffile.py", **metadata)
    before = metadata_of(file.getvalue())
    data = samples.encoded("tiff", samples.scene(), metadata=before)
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        assert "ImageDescription" not in tiff.pages[0].tags
        assert tiff.asarray().shape == samples.scene().shape
    assert not caplog.records


def test_other_descriptions_of_a_tiff_stay() -> None:
    file = io.BytesIO()
    tifffile.imwrite(
        file, np.zeros((20, 30, 3), np.uint8), photometric="rgb", metadata=None, description="A shape of {clay}"
    )
    main, _ = tags(metadata_of(file.getvalue()).exif)
    assert main[0x010E] == "A shape of {clay}"


def test_gps_reaches_a_tiff_as_a_directory() -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8825)[1] = "N"
    exif.get_ifd(0x8825)[2] = (55.0, 45.0, 7.0)
    block = exif.tobytes()[6:]
    data = samples.encoded("tiff", samples.scene(), metadata=Metadata(exif=block))
    assert Image.open(io.BytesIO(data)).getexif().get_ifd(0x8825)[2] == (55.0, 45.0, 7.0)


def test_malformed_exif_does_not_stop_a_tiff() -> None:
    block = bytearray(samples.exif_with(1))
    struct.pack_into("<H", block, 8 + 2 + 12 * 6 + 4, 60_000)  # the EXIF directory claims 60,000 entries
    data = samples.encoded("tiff", samples.scene(), metadata=Metadata(exif=bytes(block)))
    np.testing.assert_array_equal(decode(io.BytesIO(data), max_pixels=None).pixels, samples.scene())


def test_exif_in_a_png_text_of_old_imagemagick() -> None:
    from PIL.PngImagePlugin import PngInfo

    block = b"Exif\0\0" + samples.exif_with(6)
    info = PngInfo()
    info.add_text("Raw profile type exif", f"\nexif\n    {len(block)}\n{block.hex()}\n", zip=True)
    picture = decode(io.BytesIO(samples.saved(samples.scene(), "PNG", pnginfo=info)), max_pixels=None)
    assert (picture.width, picture.height) == (40, 56)
    assert tags(picture.metadata.exif)[0][MAKE] == "Chetko"


def test_metadata_too_long_for_jpeg_is_left_out() -> None:
    metadata = Metadata(
        exif=samples.exif_with(1) + bytes(70_000), xmp=b"<x/>" + b" " * 70_000, dpi=(70_000.0, 70_000.0)
    )
    read = metadata_of(samples.encoded("jpeg", samples.scene(), metadata=metadata))
    assert (read.exif, read.xmp, read.dpi) == (None, None, None)


def test_a_long_profile_in_a_jpeg() -> None:
    profile = samples.srgb_profile() + bytes(200_000)
    profile = len(profile).to_bytes(4, "big") + profile[4:]
    assert metadata_of(samples.encoded("jpeg", samples.scene(), metadata=Metadata(icc=profile))).icc == profile


@pytest.mark.parametrize("dpi", [(0.0, 0.0), (1.0, 1.0), (float("nan"), 72.0), (float("inf"), 72.0), (1e9, 1e9)])
def test_resolutions_that_mean_nothing(dpi: tuple[float, float]) -> None:
    assert plausible_dpi(dpi) is None


@pytest.mark.parametrize(
    ("channels", "space", "kept"),
    [(3, b"RGB ", True), (1, b"GRAY", True), (1, b"RGB ", False), (3, b"GRAY", False), (3, b"CMYK", False)],
)
def test_a_profile_must_fit_the_pixels(channels: int, space: bytes, kept: bool) -> None:
    data = samples.saved(samples.scene(channels=channels), "JPEG", icc_profile=samples.profile_of_space(space))
    assert (metadata_of(data).icc is not None) == kept


def test_a_palette_picture_keeps_its_rgb_profile() -> None:
    palette = Image.fromarray(samples.scene()).quantize(8)
    assert metadata_of(samples.saved(palette, "PNG", icc_profile=samples.srgb_profile())).icc is not None


def test_a_profile_of_16_bit_pictures() -> None:
    for form in ("png", "tiff"):
        data = samples.encoded(form, samples.scene(bits=16), metadata=full(orientation=1))
        read = metadata_of(data)
        assert read.icc == samples.srgb_profile()
        assert tags(read.exif)[0][MAKE] == "Chetko"


@pytest.mark.parametrize("form", ["webp", "avif"])
def test_formats_without_a_place_for_the_resolution_carry_it_in_exif(form: str) -> None:
    file = io.BytesIO()
    encoder = open_encoder(form, file, Layout(8, 6, 3, 8, Metadata(dpi=(288.0, 144.0))))
    encoder.write(np.zeros((6, 8, 3), np.uint8))
    encoder.finish()
    assert metadata_of(file.getvalue()).dpi == (288.0, 144.0)
    main = Image.open(file).getexif()
    assert (main[X_RESOLUTION], main[0x0128]) == (288, 2)


@pytest.mark.parametrize(("unit", "expected"), [(2, 300.0), (3, 762.0), (1, None)])
def test_the_resolution_of_exif_is_the_pictures_where_nothing_else_tells_it(unit: int, expected: float | None) -> None:
    exif = Image.Exif()
    exif[0x011A], exif[0x011B], exif[0x0128] = 300.0, 300.0, unit
    found = metadata_of(samples.saved(samples.scene(), "WEBP", exif=exif)).dpi
    assert found == (expected and (expected, expected))


@given(st.binary(max_size=60))
def test_the_resolution_of_damaged_exif(noise: bytes) -> None:
    for block in (noise, b"II*\0\x08\0\0\0" + noise, exif_block.of_resolution((72.0, 72.0))[: len(noise)]):
        exif_block.resolution(block)
