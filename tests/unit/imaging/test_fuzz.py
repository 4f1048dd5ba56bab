"""Damaged files of every kind: nothing but the imaging errors may come out."""

from __future__ import annotations

import contextlib
import io
import random
import warnings

import pytest

from app.imaging.decode import decode
from app.imaging.header import read_header
from app.imaging.picture import ImagingError
from tests.unit.imaging import samples

# A bent length may ask for a very large picture; a service has a limit too.
_MAX_PIXELS = 2_000_000


def _bent(data: bytes, generator: random.Random) -> bytes:
    """A copy with a few bytes changed, removed, doubled or cut off, mostly near the start, where the structure is."""
    bent = bytearray(data)
    for _ in range(generator.randint(1, 6)):
        at = int(len(bent) * generator.random() ** 3)
        match generator.randrange(6):
            case 0:
                bent[at : at + 1] = bytes([generator.randrange(256)])
            case 1:
                bent[at : at + 4] = generator.choice(
                    [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\1"]
                )
            case 2:
                del bent[at : at + generator.randint(1, 9)]
            case 3:
                bent[at:at] = bent[at : at + generator.randint(1, 40)]
            case 4 if at < len(bent):
                bent[at] ^= 1 << generator.randrange(8)
            case 5 if generator.random() < 0.3:
                del bent[max(at, 8) :]
    return bytes(bent)


@pytest.mark.parametrize("name", sorted(samples.SEEDS))
def test_only_imaging_errors_come_out(name: str) -> None:
    seed = samples.SEEDS[name]()
    generator = random.Random(name)
    survived = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of damaged EXIF
        for _ in range(150):
            data = _bent(seed, generator)
            with contextlib.suppress(ImagingError):
                read_header(io.BytesIO(data))
            with contextlib.suppress(ImagingError):
                decode(io.BytesIO(data), max_pixels=_MAX_PIXELS)
                survived += 1
    # Were every file refused at its first byte, this test would test nothing.
    assert survived < 150
