"""Bytes to pixels: every sample layout of every format that is read."""

from __future__ import annotations

import contextlib
import gc
import io

import numpy as np
import pytest
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from app.imaging.decode import decode
from app.imaging.header import read_header
from app.imaging.picture import ImagingError, Picture
from tests.unit.imaging import samples


def picture_of(data: bytes) -> Picture:
    """Decodes, and checks what must hold for every picture."""
    picture = decode(io.BytesIO(data), max_pixels=None)
    header = read_header(io.BytesIO(data))
    assert picture.pixels.flags.c_contiguous
    assert picture.pixels.dtype in (np.uint8, np.uint16)
    assert picture.channels in (1, 3)
    assert (header.width, header.height) == (picture.width, picture.height)
    assert (header.bits, header.format) == (picture.bits, picture.source_format)
    assert header.has_alpha == (picture.alpha is not None)
    if picture.alpha is not None:
        assert picture.alpha.shape == picture.pixels.shape[:2]
        assert picture.alpha.dtype == picture.pixels.dtype
    return picture


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("form", ["png", "tiff"])
def test_lossless_formats_give_every_level_back(form: str, bits: int, channels: int) -> None:
    scene = samples.scene(channels=channels, bits=bits)
    picture = picture_of(samples.encoded(form, scene))
    colours = 1 if channels <= 2 else 3
    np.testing.assert_array_equal(picture.pixels, scene[:, :, :colours])
    if channels in (2, 4):
        assert picture.alpha is not None
        np.testing.assert_array_equal(picture.alpha, scene[:, :, -1])
    else:
        assert picture.alpha is None
    assert picture.notices == ()


@pytest.mark.parametrize("form", ["PNG", "TIFF", "BMP"])
def test_one_bit_becomes_grey(form: str) -> None:
    bits = samples.scene(channels=1)[:, :, 0] > 128
    picture = picture_of(samples.saved(Image.fromarray(bits), form))
    np.testing.assert_array_equal(picture.pixels[:, :, 0], bits * np.uint8(255))


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_grey_png_of_any_depth_with_a_transparent_level(depth: int) -> None:
    level = (1 << depth) - 2
    values = np.arange(8) % (1 << depth)
    values[3] = level
    packed = np.packbits(((values[:, None] >> np.arange(depth)[::-1]) & 1).astype(np.uint8).ravel())
    data = samples.png(8, 1, depth, 0, b"\0" + packed.tobytes(), tRNS=level.to_bytes(2, "big"))
    picture = picture_of(data)
    np.testing.assert_array_equal(picture.pixels[0, :, 0], values * (255 // ((1 << depth) - 1)))
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha[0] == 0, values == level)


def test_grey_16_bit_png_with_a_transparent_level() -> None:
    rows = b"\0" + np.array([7, 500, 65_535], ">u2").tobytes()
    picture = picture_of(samples.png(3, 1, 16, 0, rows, tRNS=(500).to_bytes(2, "big")))
    assert picture.pixels[0, :, 0].tolist() == [7, 500, 65_535]
    assert picture.alpha is not None
    assert picture.alpha[0].tolist() == [65_535, 0, 65_535]


@pytest.mark.parametrize("bits", [8, 16])
def test_rgb_png_with_a_transparent_colour(bits: int) -> None:
    kind = ">u2" if bits == 16 else "u1"
    key, other = [1, 2, 3], [1, 2, 4]
    rows = b"\0" + np.array(key + other, kind).tobytes()
    data = samples.png(2, 1, bits, 2, rows, tRNS=np.array(key, ">u2").tobytes())
    picture = picture_of(data)
    assert picture.pixels[0].tolist() == [key, other]
    assert picture.alpha is not None
    assert picture.alpha[0].tolist() == [0, (1 << bits) - 1]


def test_palette_becomes_rgb() -> None:
    palette = Image.fromarray(samples.scene()).quantize(32)
    picture = picture_of(samples.saved(palette, "PNG"))
    np.testing.assert_array_equal(picture.pixels, np.asarray(palette.convert("RGB")))
    assert picture.alpha is None


@pytest.mark.parametrize("transparency", [5, bytes([0, 60, 120, 180, 240])])
def test_palette_with_transparency_becomes_rgba(transparency: int | bytes) -> None:
    palette = Image.fromarray(samples.scene()).quantize(32)
    data = samples.saved(palette, "PNG", transparency=transparency)
    picture = picture_of(data)
    indices = np.asarray(palette)
    levels = np.full(256, 255, np.uint8)
    if isinstance(transparency, int):
        levels[transparency] = 0
    else:
        levels[: len(transparency)] = list(transparency)
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha, levels[indices])
    np.testing.assert_array_equal(picture.pixels, np.asarray(palette.convert("RGB")))


def test_grey_gif_is_a_palette_picture() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    picture = picture_of(samples.saved(Image.fromarray(ramp), "GIF"))
    np.testing.assert_array_equal(picture.pixels, np.repeat(ramp[:, :, None], 3, axis=2))


def test_transparent_gif() -> None:
    image = Image.new("P", (4, 2), 1)
    image.putpalette([0, 0, 0, 250, 10, 20, 0, 0, 0])
    image.putpixel((3, 1), 2)
    picture = picture_of(samples.saved(image, "GIF", transparency=2))
    assert picture.alpha is not None
    assert np.argwhere(picture.alpha == 0).tolist() == [[1, 3]]
    assert picture.pixels[0, 0].tolist() == [250, 10, 20]


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "AVIF"])
@pytest.mark.parametrize("channels", [1, 3])
def test_lossy_formats_come_close(form: str, channels: int) -> None:
    scene = samples.scene(channels=channels)
    picture = picture_of(samples.saved(scene, form, quality=95))
    expected = scene if picture.channels == channels else np.repeat(scene, 3, axis=2)
    assert np.abs(picture.pixels.astype(int) - expected).mean() < 6  # the scene's colour noise is subsampled
    assert picture.alpha is None
    if form == "JPEG":
        assert picture.channels == channels  # grey stays grey; WebP has no grey to begin with


@pytest.mark.parametrize("form", ["WEBP", "AVIF"])
def test_alpha_of_lossy_formats(form: str) -> None:
    scene = samples.scene(channels=4)
    picture = picture_of(samples.saved(scene, form, quality=95))
    assert picture.alpha is not None
    assert np.abs(picture.alpha.astype(int) - scene[:, :, 3]).mean() < 4


def test_heic_is_turned_upright_once() -> None:
    scene = samples.scene()
    picture = picture_of(samples.heic(scene, orientation=6))
    assert np.abs(picture.pixels.astype(int) - np.rot90(scene, -1)).mean() < 4
    assert picture.source_format == "heic"


def test_mpo_is_a_jpeg_without_a_notice() -> None:
    picture = picture_of(samples.animation("MPO"))
    assert picture.source_format == "jpeg"
    assert picture.notices == ()


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "AVIF", "TIFF"])
def test_first_frame_of_an_animation_is_told(form: str) -> None:
    data = samples.animation(form)
    picture = picture_of(data)
    assert picture.notices == ("first-frame-only",)
    assert read_header(io.BytesIO(data)).frames == 3
    assert np.abs(picture.pixels.astype(int) - samples.scene(seed=0)).mean() < 12


def test_a_tiff_thumbnail_is_not_a_frame() -> None:
    big, small = samples.scene(), samples.scene(10, 14)
    file = io.BytesIO()
    with samples.tifffile.TiffWriter(file) as writer:
        writer.write(big, photometric="rgb", metadata=None)
        writer.write(small, photometric="rgb", metadata=None, subfiletype=1)
    assert picture_of(file.getvalue()).notices == ()


# EXIF's own definition, in Pillow's words.
_TURNED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "AVIF", "TIFF"])
def test_orientation_is_applied_to_pixels_and_alpha(form: str, orientation: int) -> None:
    scene = samples.scene(channels=3 if form == "JPEG" else 4)
    exif = Image.Exif()
    exif[samples.ORIENTATION] = orientation
    options = {} if form in ("PNG", "TIFF") else {"quality": 100}
    data = samples.saved(scene, form, exif=exif, **options)
    picture = picture_of(data)
    stored = Image.open(io.BytesIO(samples.saved(scene, form, **options)))
    turn = _TURNED[orientation]
    expected = np.asarray(stored if turn is None else stored.transpose(turn))
    np.testing.assert_array_equal(picture.pixels, expected[:, :, :3])
    if form != "JPEG":
        np.testing.assert_array_equal(picture.alpha, expected[:, :, 3])
    assert picture.metadata.exif is None or b"\x06" not in picture.metadata.exif[8:]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_16_bit_tiff(orientation: int) -> None:
    scene = samples.scene(bits=16)
    data = samples.tiff(scene, photometric="rgb", extratags=[(274, 3, 1, orientation, True)])
    marker = Image.fromarray(np.arange(40 * 56, dtype=np.int32).reshape(40, 56))
    turn = _TURNED[orientation]
    order = np.asarray(marker if turn is None else marker.transpose(turn))
    np.testing.assert_array_equal(picture_of(data).pixels, scene.reshape(-1, 3)[order])


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "AVIF", "TIFF"])
def test_orientation_in_xmp_alone_does_not_turn_a_picture(form: str) -> None:
    """Browsers do not heed it; the tag is reset all the same, so that nobody turns the result."""
    exif = Image.Exif()
    options = {"xmp": samples.XMP % 6}
    if form == "TIFF":
        exif[700] = samples.XMP % 6
        options = {"exif": exif}
    if form == "PNG":
        options = {"pnginfo": PngInfo()}
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", (samples.XMP % 6).decode())
    picture = picture_of(samples.saved(samples.scene(), form, **options))
    assert (picture.width, picture.height) == (56, 40)
    assert picture.metadata.xmp is not None
    assert b'tiff:Orientation="1"' in picture.metadata.xmp


def test_exif_behind_the_pixels_turns_a_png() -> None:
    scene = samples.scene()
    data = samples.saved(scene, "PNG")
    data = data[:-12] + samples.chunk(b"eXIf", samples.exif_with(6)) + data[-12:]
    np.testing.assert_array_equal(picture_of(data).pixels, np.rot90(scene, -1))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("white_is_zero", [False, True])
def test_grey_16_bit_tiff(order: str, white_is_zero: bool) -> None:
    scene = samples.scene(channels=1, bits=16)[:, :, 0]
    photometric = "miniswhite" if white_is_zero else "minisblack"
    data = samples.tiff(scene, photometric=photometric, byteorder=order)
    expected = 65_535 - scene if white_is_zero else scene
    np.testing.assert_array_equal(picture_of(data).pixels[:, :, 0], expected)


@pytest.mark.parametrize("options", [{"planarconfig": "separate"}, {"compression": "zlib"}, {"bigtiff": True}])
def test_16_bit_rgb_tiff_layouts(options: dict) -> None:
    scene = samples.scene(bits=16)
    stored = np.moveaxis(scene, 2, 0) if "planarconfig" in options else scene
    data = samples.tiff(np.ascontiguousarray(stored), photometric="rgb", **options)
    np.testing.assert_array_equal(picture_of(data).pixels, scene)


@pytest.mark.parametrize("bits", [8, 16])
def test_premultiplied_tiff_comes_out_straight(bits: int) -> None:
    top = (1 << bits) - 1
    straight = samples.scene(bits=bits)
    alpha = np.full((40, 56, 1), top // 2, straight.dtype)
    stored = np.concatenate([(straight.astype(float) * (top // 2) / top).round().astype(alpha.dtype), alpha], 2)
    picture = picture_of(samples.tiff(stored, photometric="rgb", extrasamples=["assocalpha"]))
    assert np.abs(picture.pixels.astype(int) - straight).max() <= 3
    np.testing.assert_array_equal(picture.alpha, alpha[:, :, 0])


@pytest.mark.parametrize("bits", [8, 16])
def test_extra_samples_of_unknown_meaning_are_not_alpha(bits: int) -> None:
    stored = samples.scene(channels=4, bits=bits)
    picture = picture_of(samples.tiff(stored, photometric="rgb", extrasamples=["unspecified"]))
    assert picture.alpha is None
    np.testing.assert_array_equal(picture.pixels, stored[:, :, :3])


def test_a_16_bit_ramp_keeps_its_levels() -> None:
    ramp = np.linspace(0, 65_535, 4096).astype(np.uint16).reshape(1, -1, 1).repeat(3, axis=2)
    assert len(np.unique(picture_of(samples.encoded("png", ramp)).pixels)) == 4096


def test_cmyk_jpeg_without_a_profile() -> None:
    scene = samples.scene()
    picture = picture_of(samples.saved(samples.cmyk(), "JPEG", quality=98))
    assert np.abs(picture.pixels.astype(int) - scene).mean() < 4


def test_cmyk_jpeg_that_is_not_inverted() -> None:
    """Without Adobe's marker the levels mean ink, not light; Pillow alone would return a negative."""
    ink = Image.fromarray(255 - np.asarray(samples.cmyk()), "CMYK")
    data = samples.saved(ink, "JPEG", quality=98)
    start = data.index(b"\xff\xee")
    length = int.from_bytes(data[start + 2 : start + 4], "big")
    picture = picture_of(data[:start] + data[start + 2 + length :])
    assert np.abs(picture.pixels.astype(int) - samples.scene()).mean() < 4


def test_ycck_jpeg() -> None:
    """Adobe's transform 2, which Photoshop writes: the inks as if they were RGB, turned to YCC, and inverted black."""
    inks = np.asarray(samples.cmyk())
    ycc = np.asarray(Image.fromarray(np.ascontiguousarray(inks[:, :, :3])).convert("YCbCr"))
    stored = np.concatenate([ycc, 255 - inks[:, :, 3:]], axis=2)
    # Pillow inverts when it writes CMYK; here the levels must arrive in the file as they are.
    data = samples.saved(Image.fromarray(255 - stored, "CMYK"), "JPEG", quality=98)
    marker = data.index(b"\xff\xee")
    data = data[: marker + 15] + b"\x02" + data[marker + 16 :]
    picture = picture_of(data)
    assert np.abs(picture.pixels.astype(int) - samples.scene()).mean() < 4


def test_lab_and_cmyk_tiff_become_rgb() -> None:
    cmyk = picture_of(samples.saved(samples.cmyk(), "TIFF"))
    assert np.abs(cmyk.pixels.astype(int) - samples.scene()).mean() < 2
    lab = np.zeros((4, 4, 3), np.uint8)
    lab[:, :, 0] = 255
    white = picture_of(samples.saved(Image.fromarray(lab, "LAB"), "TIFF"))
    assert white.pixels.min() >= 250


def test_ycbcr_tiff_becomes_rgb() -> None:
    data = samples.saved(Image.fromarray(samples.scene()).convert("YCbCr"), "TIFF")
    assert np.abs(picture_of(data).pixels.astype(int) - samples.scene()).mean() < 2


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "AVIF", "TIFF", "BMP", "GIF"])
def test_one_pixel(form: str) -> None:
    picture = picture_of(samples.saved(np.full((1, 1, 3), 200, np.uint8), form))
    assert picture.pixels.shape == (1, 1, 3)
    assert abs(int(picture.pixels[0, 0, 0]) - 200) <= 4


@pytest.mark.parametrize("name", sorted(samples.SEEDS))
def test_the_callers_file_stays_open(name: str) -> None:
    """After success, a refusal by the limit and damage alike; and it is read from its start wherever it stands."""
    whole = samples.SEEDS[name]()
    for data, limit in ((whole, None), (whole, 1), (whole[: len(whole) // 2], None)):
        file = io.BytesIO(data)
        file.seek(5)
        for read in (read_header, lambda file, limit=limit: decode(file, max_pixels=limit)):
            with contextlib.suppress(ImagingError):
                read(file)
            gc.collect()
            assert not file.closed


def test_names_play_no_part(tmp_path) -> None:
    path = tmp_path / "picture.gif"
    path.write_bytes(samples.saved(samples.scene(), "PNG"))
    with path.open("rb") as file:
        assert decode(file, max_pixels=None).source_format == "png"


def test_16_bit_from_a_real_file(tmp_path) -> None:
    scene = samples.scene(bits=16)
    path = tmp_path / "picture"
    path.write_bytes(samples.encoded("png", scene))
    with path.open("rb") as file:
        np.testing.assert_array_equal(decode(file, max_pixels=None).pixels, scene)


def test_exif_transpose_agrees_on_jpeg() -> None:
    """The same answer as Pillow's own helper, on a file with other tags around the orientation."""
    data = samples.saved(samples.scene(), "JPEG", exif=b"Exif\0\0" + samples.exif_with(7))
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    np.testing.assert_array_equal(picture_of(data).pixels, expected)
