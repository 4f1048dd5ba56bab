"""ICC profiles applied: to sRGB before a profile is dropped, and CMYK through its own."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from app.imaging import colour
from app.imaging.colour import to_srgb
from app.imaging.decode import decode
from app.imaging.picture import Metadata, Picture
from tests.unit.imaging import samples


def picture(pixels: np.ndarray, icc: bytes | None) -> Picture:
    return Picture(pixels, np.full(pixels.shape[:2], 7, pixels.dtype), "png", Metadata(icc=icc, dpi=(72, 72)))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("size", [(40, 56), (300, 5)])
def test_a_foreign_profile_is_applied(bits: int, size: tuple[int, int]) -> None:
    """In a profile whose red is sRGB's blue and the other way round, red must come out blue."""
    pixels = samples.scene(*size, bits=bits)
    converted = to_srgb(picture(pixels, samples.swapped_profile()))
    top = (1 << bits) - 1
    assert np.abs(converted.pixels.astype(int) - pixels[:, :, ::-1]).max() / top < 0.012
    assert converted.pixels.dtype == pixels.dtype
    assert converted.metadata == Metadata(dpi=(72, 72))
    np.testing.assert_array_equal(converted.alpha, 7)


def test_16_bit_conversion_keeps_16_bits() -> None:
    ramp = np.linspace(0, 65_535, 3000).astype(np.uint16).reshape(30, 100, 1).repeat(3, axis=2)
    converted = to_srgb(picture(ramp, samples.swapped_profile()))
    assert len(np.unique(converted.pixels[:, :, 1])) > 2000


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("icc", [None, samples.srgb_profile(), samples.profile_of_space(b"CMYK"), bytes(200), b"x"])
def test_pixels_stay_where_there_is_nothing_to_convert(bits: int, icc: bytes | None) -> None:
    pixels = samples.scene(bits=bits)
    converted = to_srgb(picture(pixels, icc))
    assert converted.pixels is pixels
    assert converted.metadata.icc is None


def _grey_profile(gamma: float) -> bytes:
    """A monochrome profile with a pure power curve, white at D50."""

    def tag(kind: bytes, body: bytes) -> bytes:
        return kind + bytes(4) + body

    white = tag(b"XYZ ", b"".join(int(v * 65_536).to_bytes(4, "big") for v in (0.9642, 1.0, 0.8249)))
    curve = tag(b"curv", (1).to_bytes(4, "big") + int(gamma * 256).to_bytes(2, "big")) + bytes(2)
    start = 128 + 4 + 2 * 12
    table = (2).to_bytes(4, "big")
    table += b"wtpt" + start.to_bytes(4, "big") + len(white).to_bytes(4, "big")
    table += b"kTRC" + (start + len(white)).to_bytes(4, "big") + (14).to_bytes(4, "big")
    body = table + white + curve
    header = bytearray(128)
    header[0:4] = (128 + len(body)).to_bytes(4, "big")
    header[8:12] = b"\x02\x40\0\0"
    header[12:24] = b"mntrGRAYXYZ "
    header[36:40] = b"acsp"
    header[68:80] = b"".join(int(v * 65_536).to_bytes(4, "big") for v in (0.9642, 1.0, 0.8249))
    return bytes(header) + body


@pytest.mark.parametrize("bits", [8, 16])
def test_a_grey_profile_is_applied_and_grey_stays_grey(bits: int) -> None:
    top = (1 << bits) - 1
    pixels = np.linspace(0, top, 64).astype(np.uint16 if bits == 16 else np.uint8).reshape(8, 8, 1)
    converted = to_srgb(picture(pixels, _grey_profile(1.5)))
    assert converted.pixels.shape == pixels.shape
    linear = (pixels / top) ** 1.5
    expected = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert np.abs(converted.pixels / top - expected).max() < 0.01


def _cmyk_profile() -> bytes:
    """A CMYK profile built by hand: a table to Lab with 2 grid points per ink.

    White paper is white, every ink alone gives a lightness of 50, and any two inks give black; unlike the plain
    formula, so that the two cannot be confused.
    """
    grid = np.zeros((2, 2, 2, 2, 3), np.uint8)
    for inks in np.ndindex(2, 2, 2, 2):
        lightness = {0: 255, 1: 128}.get(sum(inks), 0)
        grid[inks] = (lightness, 128, 128)
    identity = bytes(range(256))
    matrix = b"".join(int(v * 65_536).to_bytes(4, "big") for v in (1, 0, 0, 0, 1, 0, 0, 0, 1))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + identity * 4 + grid.tobytes() + identity * 3
    start = 128 + 4 + 12 * 2
    white = b"XYZ " + bytes(4) + b"".join(int(v * 65_536).to_bytes(4, "big") for v in (0.9642, 1.0, 0.8249))
    tags = (2).to_bytes(4, "big")
    tags += b"A2B0" + start.to_bytes(4, "big") + len(table).to_bytes(4, "big")
    tags += b"wtpt" + (start + len(table)).to_bytes(4, "big") + len(white).to_bytes(4, "big")
    body = tags + table + white
    header = bytearray(128)
    header[0:4] = (128 + len(body)).to_bytes(4, "big")
    header[8:12] = b"\x02\x40\0\0"
    header[12:24] = b"prtrCMYKLab "
    header[36:40] = b"acsp"
    header[68:80] = b"".join(int(v * 65_536).to_bytes(4, "big") for v in (0.9642, 1.0, 0.8249))
    return bytes(header) + body


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_cmyk_goes_through_its_profile(form: str) -> None:
    inks = np.zeros((64, 64, 4), np.uint8)
    inks[:, 32:, 0] = 255  # the right half is pure cyan, which this profile calls a mid grey
    data = samples.saved(Image.fromarray(inks, "CMYK"), form, icc_profile=_cmyk_profile())
    read = decode(io.BytesIO(data), max_pixels=None)
    assert read.metadata.icc is None
    assert read.pixels[:, :28].min() > 245
    right = read.pixels[:, 40:].reshape(-1, 3).mean(axis=0)
    assert np.ptp(right) < 12
    assert 90 < right.mean() < 150


def test_a_damaged_cmyk_profile_falls_back_to_the_plain_conversion() -> None:
    broken = samples.profile_of_space(b"CMYK")[:400]
    data = samples.saved(samples.cmyk(), "JPEG", quality=98, icc_profile=broken)
    assert np.abs(decode(io.BytesIO(data), max_pixels=None).pixels.astype(int) - samples.scene()).mean() < 4


def test_the_swapped_profile_of_these_tests_is_what_it_claims() -> None:
    transform = ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(io.BytesIO(samples.swapped_profile())), ImageCms.createProfile("sRGB"), "RGB", "RGB"
    )
    red = transform.apply(Image.new("RGB", (1, 1), (255, 0, 0))).getpixel((0, 0))
    assert red[2] > 250
    assert red[0] < 10
    assert colour.profile_space(samples.swapped_profile()) == "RGB"
