"""kill -9 of the worker, and of everything, in the middle of a large job."""

from __future__ import annotations

import hashlib
import re
import time
from collections import Counter
from pathlib import Path

from tests.faults.pictures import photo_like
from tests.faults.tree import Tree, tree, wait_until

QUERY = "scale=4&format=tiff"
RUNNING_AGAIN_SECONDS = 10
SLACK = 3
"""A machine that also does other things gets this many times as long; the time that was taken is printed."""


def begun(one: Tree, id: str) -> Counter[str]:
    """How often each task of a job was begun, by its name, as workers' logs tell."""
    return Counter(re.findall(rf"{id}\.\d+\.(\w+\.\d+\.\d+) begins", one.said()))


def strips(counted: Counter[str]) -> Counter[str]:
    return Counter({name: times for name, times in counted.items() if name.startswith("strip")})


def undisturbed(one: Tree, picture: bytes) -> str:
    """The hash of what comes when nothing is killed."""
    id = one.submit(picture, QUERY)
    job = one.wait_for(id, "succeeded")
    assert job["strips"]["total"] >= 3, "too small a picture to be hurt in the middle"
    data = one.result(id)
    digest = hashlib.sha256(data).hexdigest()
    assert digest == job["result"]["sha256"]
    return digest


def in_the_middle(one: Tree, id: str) -> None:
    """Returns when a strip is finished and others are not."""

    def look() -> bool:
        job = one.job(id)
        assert job["state"] in ("queued", "preparing", "running"), job
        return bool(job["state"] == "running" and 1 <= job["strips"]["done"] < job["strips"]["total"])

    wait_until(look, "the middle of the job", 300, every=0.02)


def test_a_killed_worker_costs_its_strips_and_nothing_else(place: Path) -> None:
    picture = photo_like(1600, 1400)
    with tree(place) as one:
        expected = undisturbed(one, picture)
        id = one.submit(picture, QUERY)
        in_the_middle(one, id)
        one.kill("worker")
        killed = time.monotonic()
        before = sum(strips(begun(one, id)).values())  # the dead one writes no more
        wait_until(lambda: sum(strips(begun(one, id)).values()) > before, "a strip begun again")
        took = time.monotonic() - killed
        print(f"running again {took:.1f} s after the worker was killed")
        assert took < RUNNING_AGAIN_SECONDS * SLACK
        job = one.wait_for(id, "succeeded")
        assert job["result"]["sha256"] == expected
        assert hashlib.sha256(one.result(id)).hexdigest() == expected
        twice = {name for name, times in strips(begun(one, id)).items() if times > 1}
        assert all(times <= 2 for times in strips(begun(one, id)).values())
        assert len(twice) <= 1, "one worker computes one strip at a time"
        assert one.stop() == 0


def test_a_power_cut_costs_what_was_running_and_the_job_goes_on_where_it_was(place: Path) -> None:
    picture = photo_like(1600, 1400, seed=1)
    with tree(place) as one:
        expected = undisturbed(one, picture)
        id = one.submit(picture, QUERY)
        in_the_middle(one, id)
        done = one.job(id)["strips"]["done"]
        one.kill_everything()
        one.start()
        job = one.job(id)
        assert job["strips"]["done"] >= done, "finished strips are not computed again"
        job = one.wait_for(id, "succeeded")
        assert job["result"]["sha256"] == expected
        assert hashlib.sha256(one.result(id)).hexdigest() == expected
        assert sum(times > 1 for times in strips(begun(one, id)).values()) <= 1
        assert one.stop() == 0
