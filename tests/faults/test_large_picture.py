"""24 megapixels four times larger: what each process takes at most, and that the result is the synchronous one."""

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

WIDTH, HEIGHT, SCALE = 6000, 4000, 4
MOST_MB = 700


def peaks(one: Tree, found: dict[int, tuple[str, int]], ended: threading.Event) -> None:
    """Notes the largest resident size of every process until ``ended``; the kernel counts, so no peak is missed."""
    while not ended.wait(0.5):
        for process in one.processes():
            with suppress(psutil.NoSuchProcess, OSError, StopIteration):
                found[process.pid] = (" ".join(process.cmdline()[-2:])[-60:], peak_bytes(process.pid) >> 20)


@pytest.mark.timeout(7200)
def test_24_megapixels_to_bigtiff_stay_below_700_mb(place: Path) -> None:
    # As JPEG: with grain a PNG of this size is longer than a request body may be.
    with Image.open(io.BytesIO(photo_like(WIDTH, HEIGHT))) as opened:
        file = io.BytesIO()
        opened.save(file, "JPEG", quality=90)
    picture = file.getvalue()
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
    print(f"{WIDTH} x {HEIGHT} x{SCALE} took {took:.0f} s, {job['strips']['total']} strips")
    assert max(megabytes for _, megabytes in found.values()) <= MOST_MB

    source = place / "picture.jpg"
    source.write_bytes(picture)
    subprocess.run(
        [*chetko_command(), "upscale", str(source), "--scale", str(SCALE), "-o", str(place / "whole.tiff")], check=True
    )
    with tifffile.TiffFile(result) as job_file, tifffile.TiffFile(place / "whole.tiff") as whole_file:
        assert job_file.is_bigtiff == whole_file.is_bigtiff  # classic up to 4 GB, here as there
        assert job_file.pages[0].shape[:2] == (HEIGHT * SCALE, WIDTH * SCALE)
        for ours, whole in itertools.zip_longest(job_file.pages[0].segments(), whole_file.pages[0].segments()):
            assert ours is not None
            assert whole is not None
            assert ours[1] == whole[1]
            assert np.array_equal(ours[0], whole[0])
