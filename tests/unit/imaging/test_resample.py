"""Rows to rows of a smaller picture: as good as Pillow's whole resize, the same however they arrive, in flat memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from app.imaging.picture import Pixels
from app.imaging.resample import resampled
from tests.unit.imaging import samples


def _bands(pixels: Pixels, rows: int) -> Iterator[Pixels]:
    return (pixels[top : top + rows] for top in range(0, pixels.shape[0], rows))


def _resampled(
    pixels: Pixels, size: tuple[int, int], box: tuple[float, float, float, float] | None = None, rows: int = 37
) -> Pixels:
    height, width, channels = pixels.shape
    parts = resampled(
        _bands(pixels, rows),
        colours=1 if channels <= 2 else 3,
        source=(width, height),
        box=box or (0, 0, width, height),
        size=size,
    )
    out = np.concatenate(list(parts))
    assert (out.shape, out.dtype) == ((size[1], size[0], channels), pixels.dtype)
    return out


_CASES = [
    ((150, 225), None),
    ((133, 300), None),
    ((200, 77), None),
    ((40, 60), None),
    ((99, 130), (20.5, 31.25, 180.5, 280.0)),
    ((200, 150), (0, 150, 200, 300)),
]


@pytest.mark.parametrize(("size", "box"), _CASES)
def test_it_is_pillows_lanczos(size: tuple[int, int], box: tuple[float, float, float, float] | None) -> None:
    pixels = samples.scene(300, 200, 3)
    expected = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS, box))
    assert np.abs(_resampled(pixels, size, box).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("bits", [8, 16])
def test_how_rows_arrive_changes_nothing(channels: int, bits: int) -> None:
    pixels = samples.scene(300, 90, channels, bits=bits)
    for size, box in (((60, 211), None), ((50, 150), (3.3, 20.7, 83.3, 260.7))):
        together = _resampled(pixels, size, box, rows=300)
        for rows in (1, 64, 97):
            np.testing.assert_array_equal(_resampled(pixels, size, box, rows), together)


def test_alpha_is_taken_by_itself_and_16_bits_stay_16() -> None:
    pixels = samples.scene(120, 80, 4)
    got = _resampled(pixels, (50, 70))
    np.testing.assert_array_equal(got[:, :, :3], _resampled(np.ascontiguousarray(pixels[:, :, :3]), (50, 70)))
    np.testing.assert_array_equal(got[:, :, 3:], _resampled(np.ascontiguousarray(pixels[:, :, 3:]), (50, 70)))
    wide = _resampled(pixels.astype(np.uint16) * 257, (50, 70))
    assert np.abs(wide / 257 - got).max() <= 1.6
    ramp = np.linspace(20_000, 24_000, 900).astype(np.uint16).reshape(1, 900, 1).repeat(30, axis=0)
    assert len(np.unique(_resampled(ramp, (700, 20)))) > 600
    steps = np.array([0, 65535], np.uint16).repeat(40).reshape(1, 80, 1).repeat(9, axis=0)
    assert set(np.unique(_resampled(steps, (50, 6))[:, [0, -1]])) == {0, 65535}, "overshoot is cut off, not wrapped"


def test_memory_does_not_grow_with_the_height() -> None:
    taken = 0

    def bands() -> Iterator[Pixels]:
        nonlocal taken
        for _ in range(200):
            taken += 16
            yield np.full((16, 40, 3), 9, np.uint8)

    coming = resampled(bands(), colours=3, source=(40, 3200), box=(0, 0, 40, 3200), size=(30, 2400))
    for number, rows in enumerate(coming, 1):
        assert taken <= number * 64 * 4 / 3 + 32, "rows are taken only when they are needed"
        assert (rows == 9).all()
    assert taken == 3200
