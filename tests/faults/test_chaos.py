"""Every kind of process is killed at random while pictures and jobs come in: ``make chaos`` does it for ten minutes."""

from __future__ import annotations

import hashlib
import os
import random
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests.faults.pictures import photo_like
from tests.faults.tree import Tree, tree, wait_until

MINUTES = float(os.environ.get("CHETKO_CHAOS_MINUTES", "1"))
PAUSE_SECONDS = (3.0, 9.0)
"""Between two kills: shorter than a job takes, longer than the service needs to come back."""
SMALL = "scale=2&format=png"
LARGE = "scale=4&format=tiff"


class Load:
    """Callers who know nothing of the kills. What they saw is judged at the end."""

    def __init__(self, one: Tree) -> None:
        self.one = one
        self.over = threading.Event()
        self.small, self.large = photo_like(160, 120, seed=5), photo_like(1000, 800, seed=6)
        self.statuses: Counter[int] = Counter()
        """Of everything; 0 is a connection that a kill has cut."""
        self.wrong: list[str] = []
        self.jobs: list[str] = []
        """All that were answered with 202."""
        self.expected = ""
        """SHA-256 of the small picture's answer when nobody was killed."""

    def pictures(self) -> None:
        """Small pictures, one after another."""
        while not self.over.is_set():
            answer = self._post(SMALL, self.small, {})
            if answer is None:
                time.sleep(0.2)
            elif answer.status_code == 200 and hashlib.sha256(answer.content).hexdigest() != self.expected:
                self.wrong.append(f"another picture, of {len(answer.content)} bytes")
            elif answer.status_code != 200:
                time.sleep(0.5)

    def submit(self) -> None:
        """Large ones as jobs, now and then."""
        while not self.over.is_set():
            answer = self._post(LARGE, self.large, {"Prefer": "respond-async", "Cache-Control": "no-cache"})
            if answer is not None and answer.status_code == 202:
                self.jobs.append(answer.json()["id"])
            self.over.wait(4)

    def _post(self, query: str, picture: bytes, headers: dict[str, str]) -> httpx.Response | None:
        try:
            answer = self.one.client.post(
                f"{self.one.url}/v1/upscale?{query}",
                files={"image": ("chaos.png", picture)},
                headers=headers,
            )
        except httpx.HTTPError:
            self.statuses[0] += 1
            return None
        self.statuses[answer.status_code] += 1
        if answer.status_code >= 500 and answer.status_code != 503:
            self.wrong.append(f"{answer.status_code}: {answer.text[:300]}")
        return answer


@pytest.mark.timeout(MINUTES * 60 + 1200)
def test_nothing_is_lost_whoever_is_killed(place: Path) -> None:
    choose = random.Random(8)
    with tree(place) as one:
        load = Load(one)
        load.expected = hashlib.sha256(
            one.client.post(f"{one.url}/v1/upscale?{SMALL}", files={"image": ("chaos.png", load.small)}).content
        ).hexdigest()
        first = one.submit(load.large, LARGE)
        large = one.wait_for(first, "succeeded")["result"]["sha256"]
        threads = [threading.Thread(target=load.pictures), threading.Thread(target=load.submit)]
        for thread in threads:
            thread.start()
        killed: Counter[str] = Counter()
        try:
            end = time.monotonic() + MINUTES * 60
            while time.monotonic() < end:
                time.sleep(choose.uniform(*PAUSE_SECONDS))
                victim = choose.choice(("worker", "queue server", "api", "decoder"))
                if victim == "decoder":
                    if not one.kill_decoders():
                        continue  # none is there just now
                elif victim == "api":
                    one.kill_serve()
                    one.start()  # what a cluster or systemd does
                else:
                    one.kill(victim)
                killed[victim] += 1
        finally:
            load.over.set()
            for thread in threads:
                thread.join()
        print(f"killed {dict(killed)}; statuses {dict(load.statuses)}; {len(load.jobs)} jobs")
        assert sum(killed.values()) >= max(1, MINUTES)  # a busy machine takes long to come back
        assert not load.wrong, load.wrong[:5]
        assert load.statuses[200] > 0
        assert load.jobs
        wait_until(lambda: one.child("worker") and one.child("queue server"), "everything back by itself")
        for id in load.jobs:
            job = one.wait_for(id, "succeeded")
            assert job["result"]["sha256"] == large
        assert hashlib.sha256(one.result(load.jobs[-1])).hexdigest() == large
        assert one.stop() == 0
