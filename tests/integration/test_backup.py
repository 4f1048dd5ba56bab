"""docs/how-to/backup.md: a folder that was copied while the service ran brings back what was acknowledged by then."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.integration.http.live import real_server
from tests.integration.http.pictures import png

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no embedded queue server there")


def submit(url: str) -> str:
    accepted = httpx.post(
        f"{url}/v1/upscale?scale=2&model=bicubic",
        files={"image": ("a.png", png(40, 30))},
        headers={"Prefer": "respond-async", "Cache-Control": "no-cache"},
        timeout=60,
    )
    assert accepted.status_code == 202
    return accepted.headers["location"]


def result(url: str, job: str) -> bytes:
    deadline = time.monotonic() + 120
    while (state := httpx.get(url + job, timeout=60).json()["state"]) != "succeeded":
        assert state in {"queued", "preparing", "running", "assembling"}
        assert time.monotonic() < deadline, "the job did not end"
        time.sleep(0.1)
    return httpx.get(f"{url}{job}/result", timeout=60).content


def test_a_copy_of_a_running_service_has_its_results_and_goes_on_with_its_jobs(tmp_path: Path) -> None:
    folder, copy = tmp_path / "data", tmp_path / "copy"
    with real_server(worker=True, CHETKO_DATA_DIR=str(folder)) as first:
        done = submit(first.url)
        picture = result(first.url, done)
        assert first.stop() == 0
    with real_server(CHETKO_DATA_DIR=str(folder)) as second:  # no worker: this one is still to be done
        waiting = submit(second.url)
        shutil.copytree(folder / "queue", copy / "queue", ignore=shutil.ignore_patterns("socket"))
        shutil.copytree(folder / "objects", copy / "objects")
        assert second.stop() == 0
    with real_server(worker=True, CHETKO_DATA_DIR=str(copy)) as third:
        assert result(third.url, done) == picture
        assert result(third.url, waiting) == picture
        assert third.stop() == 0
