"""The soak's own eyes: what it would call left over, and when it would call memory growing."""

from __future__ import annotations

import time

import httpx
import pytest

from benchmarks.service import running_service
from benchmarks.soak import flat, leftovers
from tests.integration.http.pictures import png


def test_what_a_job_keeps_is_seen_and_seen_to_go() -> None:
    with running_service(models_poll_seconds="0") as running:
        assert leftovers(running) == ([], [])
        accepted = httpx.post(
            f"{running.url}/v1/upscale?scale=2",
            files={"image": ("a.png", png(40, 30))},
            headers={"Prefer": "respond-async"},
            timeout=60,
        )
        assert accepted.status_code == 202
        files, keys = leftovers(running)
        assert len(files) == 1, "its source"
        assert len(keys) > 1, "its record and its task"
        assert httpx.delete(running.url + accepted.headers["location"], timeout=60).is_success
        deadline = time.monotonic() + 60
        while any(leftovers(running)):
            assert time.monotonic() < deadline, leftovers(running)
            time.sleep(0.1)


@pytest.mark.parametrize(("a_minute", "held"), [(0.0, True), (-5.0, True), (0.5, True), (5.0, False)])
def test_a_slope_is_judged_by_what_it_adds_up_to(
    a_minute: float, held: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    noisy = [(minute, 200 + a_minute * minute + minute % 2) for minute in range(30)]
    assert flat("API", noisy) is held
    assert ("GROWS" in capsys.readouterr().out) is not held


def test_the_first_third_is_not_judged() -> None:
    assert flat("API", [(minute, min(300.0, 100.0 + 20 * minute)) for minute in range(30)])
