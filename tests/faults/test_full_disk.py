"""A disk that is full: nothing new is taken in, nothing breaks, and what is there can be fetched and deleted."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.faults.pictures import photo_like
from tests.faults.tree import tree, wait_until

DISK_MB = 96
FREE_MB = 32
QUERY = "scale=2&format=png"


@pytest.fixture
def small_disk(place: Path) -> Iterator[Path]:
    """A disk of its own."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("needs root on Linux to mount a small disk")
    disk = place / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(disk)], check=False)
    if mounted.returncode != 0:
        pytest.skip("this container may not mount a small disk")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk: Path, leave: int) -> Path:
    """Leaves that many bytes free."""
    filler = disk / "filler"
    with filler.open("wb") as file:
        file.write(bytes(max(0, shutil.disk_usage(disk).free - leave)))
    return filler


@pytest.mark.parametrize("leave", [FREE_MB * 1_000_000 // 2, 0], ids=["below the reserve", "not a byte left"])
def test_a_full_disk_stops_acceptance_and_nothing_else(small_disk: Path, leave: int) -> None:
    picture = photo_like(300, 200)
    with tree(small_disk, storage_min_free_mb=str(FREE_MB)) as one:
        kept, removed = (one.submit(picture, QUERY) for _ in range(2))
        digests = {one.wait_for(id, "succeeded")["result"]["sha256"] for id in (kept, removed)}
        assert len(digests) == 1
        filler = fill(small_disk, leave)

        def refused() -> bool:
            try:
                answer = one.client.post(
                    f"{one.url}/v1/upscale?{QUERY}",
                    files={"image": ("picture.png", picture)},
                    headers={"Prefer": "respond-async", "Cache-Control": "no-cache"},
                )
            except httpx.TransportError:
                return False
            assert answer.status_code == 503, answer.text
            assert answer.headers["retry-after"]
            return bool(
                answer.json()["code"] in (("storage_full",) if leave else ("storage_full", "queue_unavailable"))
            )

        wait_until(refused, "the refusal")
        if leave:
            assert httpx.get(f"{one.url}/readyz").status_code == 200, "a full disk takes no pod out"
            assert hashlib.sha256(one.result(kept)).hexdigest() in digests, "downloads go on"
            assert one.ask("DELETE", f"/v1/jobs/{removed}").status_code in (200, 202, 204), "deletions go on"
            wait_until(lambda: not any(removed in name for name in one.files("objects")), "the deletion")
        filler.unlink()
        id = one.submit(picture, QUERY)
        assert one.wait_for(id, "succeeded")["result"]["sha256"] in digests
        assert hashlib.sha256(one.result(kept)).hexdigest() in digests, "nothing was harmed"
        assert one.stop() == 0
