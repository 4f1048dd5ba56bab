"""What more workers bring, and what a large job costs those who ask for something small meanwhile.

Both compare two measurements of one run. On a machine that does other things they mean little: they print what they
found, and judge it only when the machine was idle before.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import httpx
import psutil
import pytest

from tests.faults.own_cores import share_of_both
from tests.faults.pictures import photo_like
from tests.faults.tree import Tree, tree, wait_until

BUSY_PERCENT = 15
TASKSET = shutil.which("taskset") or ""
QUERY = "scale=4&format=tiff"
SMALL_REQUESTS = 60


def idle() -> bool:
    """Whether the machine has nothing else to do, so that a test's figures count."""
    busy = psutil.cpu_percent(5)
    if busy > BUSY_PERCENT:
        print(f"the cores were busy for {busy:.0f} % of the time before: only told, not judged")
    return busy <= BUSY_PERCENT


@pytest.mark.skipif(not TASKSET or (os.cpu_count() or 1) < 2, reason="needs two cores, and taskset to give them away")
def test_two_workers_take_at_most_0_6_of_the_time_of_one(place: Path) -> None:
    judged = idle()
    # As large as what people wait for: of a smaller one the first and the last step, which one worker does, are more.
    picture = photo_like(4000, 3000)
    first, second = sorted(os.sched_getaffinity(0))[:2]
    before = share_of_both(first, second)
    with tree(place, arguments=["--no-worker"], threads="1") as one:

        def ready(count: int) -> None:
            wait_until(lambda: one.said().count(" takes tasks") >= count, f"worker {count}")

        def took() -> float:
            began = time.monotonic()
            one.wait_for(one.submit(picture, QUERY), "succeeded", seconds=1200)
            return time.monotonic() - began

        one.add_worker(prefix=[TASKSET, "-c", str(first)])
        ready(1)
        took()  # measures the model's speed, by which strips are cut
        alone = took()
        one.add_worker(prefix=[TASKSET, "-c", str(second)])
        ready(2)
        together = took()
        for worker in one.workers:
            worker.terminate()
            assert worker.wait(60) == 0
        assert one.stop() == 0
    bare = (before + share_of_both(first, second)) / 2
    print(
        f"one worker {alone:.1f} s, two {together:.1f} s: {together / alone:.2f}; the model alone takes {bare:.2f}"
        " of the time on both cores, where cores that share nothing take 0.50"
    )
    if judged:
        assert together <= 0.6 * alone * (bare / 0.5)


def p95(one: Tree, picture: bytes, *, while_running: str | None = None) -> float:
    """Milliseconds of small synchronous requests, one after another."""
    times = []
    with httpx.Client(timeout=60) as client:
        for _ in range(SMALL_REQUESTS):
            began = time.monotonic()
            answer = client.post(f"{one.url}/v1/upscale?scale=2", files={"image": ("small.png", picture)})
            times.append((time.monotonic() - began) * 1000)
            assert answer.status_code == 200, answer.text
    if while_running is not None:
        assert one.job(while_running)["state"] == "running", "the large job was not large enough"
    return sorted(times)[int(0.95 * len(times))]


def test_small_requests_hardly_feel_a_large_job(place: Path) -> None:
    judged = idle()
    small = photo_like(160, 120)
    with tree(place) as one:
        p95(one, small)
        quiet = p95(one, small)
        id = one.submit(photo_like(4000, 3000), QUERY)
        wait_until(lambda: one.job(id)["state"] == "running", "a running strip", 300)
        busy = p95(one, small, while_running=id)
        one.ask("DELETE", f"/v1/jobs/{id}")
        assert one.stop() == 0
    print(f"95 of 100 small requests are answered within {quiet:.0f} ms, and {busy:.0f} ms beside a large job")
    if judged:
        assert busy <= 3 * quiet
