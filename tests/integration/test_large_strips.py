"""A result of 20,000 x 20,000 pixels out of strips: flat memory, and every row where it belongs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import tifffile

from tests import peak

EDGE = 20_000
PEAK_MB = 700

# Strips as compute_strip writes them, of a picture that is known at every place: made when they are asked for.
_ASSEMBLE = """
import sys
import numpy as np
from app.imaging.bands import SourceLayout
from app.imaging.raw_rows import pack
from app.inference.options import Options
from app.inference.registry import Registry, SHIPPED
from app.inference.strips import Strip, assemble, write_tiles
from tests.peak import peak_bytes

edge, form, target, pyramid = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
layout = SourceLayout(edge // 4, edge // 4, 3, 8, 128, "png")
strips = [Strip(k, 100 * k, 100 * k + 100, ((100, 100),)) for k in range(edge // 400)]
columns = np.arange(edge, dtype=np.uint32)

def strip(index):
    pieces = []
    for top in range(400 * index, 400 * index + 400, 100):
        rows = np.arange(top, top + 100, dtype=np.uint32)[:, None]
        planes = rows // 7 + columns // 5, rows // 3 + 0 * columns, columns // 11 + 0 * rows
        pieces.append(pack(np.stack([(plane % 256).astype(np.uint8) for plane in planes], axis=2)))
    return bytes(4) + b"".join(pieces)

given = {"registry": Registry.load([SHIPPED]), "get": None, "threads": 2}
options = Options(scale=4, format=form)
with open(target, "w+b") as file, open(pyramid, "wb") as tiles:
    report = assemble(layout, strips, strip, file, options, **given)
    write_tiles(layout, strips, strip, tiles, options, **given)
assert (report.width, report.height) == (edge, edge)
print(peak_bytes() >> 20)
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not peak.TOLD, reason="peaks are told on Linux only")
@pytest.mark.parametrize("form", ["tiff", "png"])
def test_assembling_is_flat(form: str, tmp_path: Path) -> None:
    target, pyramid = tmp_path / f"large.{form}", tmp_path / "pyramid"
    command = [sys.executable, "-c", _ASSEMBLE, str(EDGE), form, str(target), str(pyramid)]
    peak = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    print(form, f"{peak} MB at most, file of {target.stat().st_size / 1e6:.0f} MB")  # noqa: T201  (for the closing note)
    assert peak <= PEAK_MB
    assert pyramid.stat().st_size > 10_000_000
    if form == "tiff":
        with tifffile.TiffFile(target) as file:
            page = file.pages[0]
            assert page.shape == (EDGE, EDGE, 3)
            for row, column in ((0, 0), (12_345, 6_789), (EDGE - 1, EDGE - 1)):
                number = row // 256 * -(-EDGE // 256) + column // 256
                file.filehandle.seek(page.dataoffsets[number])
                tile, *_ = page.decode(file.filehandle.read(page.databytecounts[number]), number)
                expected = ((row // 7 + column // 5) % 256, row // 3 % 256, column // 11 % 256)
                assert tuple(tile[0, row % 256, column % 256]) == expected


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not peak.TOLD, reason="peaks are told on Linux only")
@pytest.mark.parametrize("options", ["quality=90", "quality=90, progressive=True", "quality=90, exif=turned"])
def test_a_hundred_megapixels_are_prepared_in_bounded_memory(options: str, tmp_path: Path) -> None:
    file = tmp_path / "large.jpg"
    make = (
        "from PIL import Image; turned = Image.Exif(); turned[0x112] = 6; "
        f"Image.radial_gradient('L').convert('RGB').resize((10_000, 10_000)).save({str(file)!r}, {options})"
    )
    subprocess.run([sys.executable, "-c", make], check=True)
    prepare = (
        "from app.imaging.bands import write_bands\nfrom tests.peak import peak_bytes\n"
        f"with open({str(file)!r}, 'rb') as file: print(write_bands(file, lambda *_: None, max_pixels=None).width)\n"
        "print(peak_bytes() >> 20)"
    )
    ran = subprocess.run([sys.executable, "-c", prepare], capture_output=True, text=True, check=True)
    width, peak = map(int, ran.stdout.split())
    print(options, f"{peak} MB at most")  # noqa: T201
    assert width == 10_000
    assert peak <= (250 if options == "quality=90" else PEAK_MB)
