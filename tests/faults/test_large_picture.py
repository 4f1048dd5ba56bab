"""24 and 100 megapixels four times larger: what each process takes at most, and that the result is the whole one."""

from __future__ import annotations

import io
import itertools
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
import tifffile
from PIL import Image

from app.processes import chetko_command
from tests.faults.pictures import photo_like
from tests.faults.tree import Tree, tree
from tests.peak import peak_bytes

SCALE = 4
MOST_MB = 700


def peaks(one: Tree, found: dict[int, tuple[str, int]], ended: threading.Event) -> None:
    """Notes the largest resident size of every process until ``ended``; the kernel counts, so no peak is missed."""
    while not ended.wait(0.5):
        for process in one.processes():
            with suppress(psutil.NoSuchProcess, OSError, StopIteration):
                found[process.pid] = (" ".join(process.cmdline()[-2:])[-60:], peak_bytes(process.pid) >> 20)


def jpeg(width: int, height: int) -> bytes:
    """With grain a PNG of this size is longer than a request body may be."""
    with Image.open(io.BytesIO(photo_like(width, height))) as opened:
        file = io.BytesIO()
        opened.save(file, "JPEG", quality=85)
    return file.getvalue()


@pytest.mark.timeout(7200)
@pytest.mark.parametrize(("width", "height", "compared"), [(6000, 4000, True), (10_000, 10_000, False)])
def test_large_pictures_to_bigtiff_stay_below_700_mb(place: Path, width: int, height: int, compared: bool) -> None:
    picture = jpeg(width, height)
    found: dict[int, tuple[str, int]] = {}
    ended = threading.Event()
    with tree(place, storage_min_free_mb="0") as one:
        watching = threading.Thread(target=peaks, args=(one, found, ended))
        watching.start()
        try:
            began = time.monotonic()
            id = one.submit(picture, f"scale={SCALE}&format=tiff")
            job = one.wait_for(id, "succeeded", seconds=6000)
            took = time.monotonic() - began
        finally:
            ended.set()
            watching.join()
        result = place / "job.tiff"
        # Beside the service: the client of this test does not count.
        subprocess.run(["curl", "-fsS", "-o", str(result), f"{one.url}/v1/jobs/{id}/result"], check=True)
        assert one.stop() == 0
    for name, megabytes in sorted(found.values(), key=lambda each: -each[1]):
        print(f"{megabytes:5} MB  {name}")
    print(
        f"{width} x {height} x{SCALE} took {took:.0f} s, {job['strips']['total']} strips, "
        f"{result.stat().st_size / 1e6:.0f} MB"
    )
    assert max(megabytes for _, megabytes in found.values()) <= MOST_MB
    with tifffile.TiffFile(result) as file:
        assert file.is_bigtiff == (3 * width * height * SCALE**2 > 4e9)  # classic up to 4 GB
        assert file.pages[0].shape == (height * SCALE, width * SCALE, 3)
    if compared:
        source = place / "picture.jpg"
        source.write_bytes(picture)
        equals_the_synchronous_one(source, result)


def equals_the_synchronous_one(source: Path, result: Path) -> None:
    whole = result.with_name("whole.tiff")
    subprocess.run([*chetko_command(), "upscale", str(source), "--scale", str(SCALE), "-o", str(whole)], check=True)
    with tifffile.TiffFile(result) as job_file, tifffile.TiffFile(whole) as whole_file:
        for ours, theirs in itertools.zip_longest(job_file.pages[0].segments(), whole_file.pages[0].segments()):
            assert ours is not None
            assert theirs is not None
            assert ours[1] == theirs[1]
            assert np.array_equal(ours[0], theirs[0])
