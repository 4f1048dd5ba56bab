"""Peak memory, measured from outside in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest
from PIL import Image

from tests import peak
from tests.unit.imaging import samples

_DECODE = """
import sys
from app.imaging.decode import decode
from tests.peak import peak_bytes

with open(sys.argv[1], "rb") as file:
    decode(file, max_pixels=None)
with open(sys.argv[2], "rb") as file:
    before = peak_bytes()
    picture = decode(file, max_pixels=None)
print((peak_bytes() - before) // (picture.width * picture.height))
"""

_ENCODE = """
import sys
import numpy as np
from app.imaging.encode import open_encoder
from app.imaging.picture import Layout
from tests.peak import peak_bytes
from tests.unit.imaging import samples

class Nowhere:
    def write(self, data):
        return len(data)

form, height = sys.argv[1], int(sys.argv[2])
rows = np.tile(samples.scene(64, 500), (1, 20, 1))
with open(sys.argv[3], "w+b") as file:
    encoder = open_encoder(form, file if form == "tiff" else Nowhere(), Layout(10_000, height, 3, 8), threads=2)
    for _ in range(height // 64):
        encoder.write(rows)
    encoder.finish()
    encoder.close()
print(peak_bytes())
"""


def _peak(program: str, *arguments: str) -> int:
    ran = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    return int(ran.stdout)


@pytest.mark.skipif(not peak.TOLD, reason="peaks are told on Linux only")
@pytest.mark.parametrize("form", ["png", "jpeg", "tiff"])
def test_streaming_encoders_do_not_grow_with_the_picture(form: str, tmp_path) -> None:
    low, high = (_peak(_ENCODE, form, str(height), str(tmp_path / "picture")) for height in (2560, 8000))
    assert high - low < 20_000_000  # of 163 MB more pixels


@pytest.mark.skipif(not peak.TOLD, reason="peaks are told on Linux only")
@pytest.mark.parametrize("orientation", [1, 6])
def test_decoding_holds_the_codecs_buffer_and_the_array_and_no_more(orientation: int, tmp_path) -> None:
    exif = Image.Exif()
    exif[samples.ORIENTATION] = orientation
    small, large = tmp_path / "small", tmp_path / "large"
    image = Image.fromarray(samples.scene())
    image.save(small, "JPEG", exif=exif)
    image.resize((4000, 3000)).save(large, "JPEG", exif=exif)
    assert _peak(_DECODE, str(small), str(large)) < 8  # bytes a pixel: Pillow 4, the array 3
