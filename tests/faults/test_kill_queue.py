"""kill -9 of the queue server, again and again, while jobs come and go."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.faults.pictures import photo_like
from tests.faults.tree import FINAL, Tree, tree, wait_until

JOBS = 200
KILLS = 20
QUERY = "scale=2&format=png"


def killing(one: Tree, kills: int, ended: threading.Event) -> None:
    """Kills the queue server at random moments; each time it must be back before it is killed again."""
    chance = random.Random(5)
    for _ in range(kills):
        time.sleep(chance.uniform(0.2, 3.0))
        killed = one.kill("queue server")
        wait_until(lambda killed=killed: one.child("queue server") not in (None, killed), "a new queue server")  # type: ignore[misc]
    ended.set()


def test_no_acknowledged_job_is_lost_or_finished_twice(place: Path) -> None:
    pictures = [photo_like(40 + number % 13, 30 + number % 7, seed=number) for number in range(JOBS)]
    ended = threading.Event()
    with tree(place) as one, ThreadPoolExecutor(9) as clients:
        killer = clients.submit(killing, one, KILLS, ended)
        began = time.monotonic()
        jobs = []
        for number, id in enumerate(clients.map(lambda each: one.submit(each, QUERY), pictures)):
            jobs.append((number, id))
        print(f"{JOBS} jobs were acknowledged within {time.monotonic() - began:.0f} s")
        assert len({id for _, id in jobs}) == JOBS, "every submission made a job of its own"
        first: dict[str, str] = {}
        for _, id in jobs:
            job = one.wait_for(id, *FINAL, seconds=600)
            assert job["state"] == "succeeded", job
            first[id] = job["result"]["sha256"]
        killer.result(300)
        assert ended.is_set()
        # One final state each, and its bytes do not change: looked at after the last kill.
        for _, id in jobs:
            job = one.job(id)
            assert (job["state"], job["result"]["sha256"]) == ("succeeded", first[id])
            assert hashlib.sha256(one.result(id)).hexdigest() == first[id]
        # The same pictures without any kill give the same bytes.
        for number, id in jobs[:: JOBS // 10]:
            again = one.wait_for(one.submit(pictures[number], QUERY), "succeeded")
            assert again["result"]["sha256"] == first[id]
        assert one.said().count("The queue server (process") >= KILLS
        assert one.stop() == 0
