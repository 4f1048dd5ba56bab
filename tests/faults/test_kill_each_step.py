"""kill -9 of everything at each step of a job's life; afterwards nothing of it may be left, neither file nor key."""

from __future__ import annotations

import os
from pathlib import Path

from app.storage import open_storage
from tests.faults.pictures import photo_like
from tests.faults.tree import Tree, tree, wait_until

STEPS = ("queued", "preparing", "running", "assembling", "succeeded")
TTL_SECONDS = 20


def reach(one: Tree, id: str, step: str) -> str:
    """Returns as soon as the job was seen in that step, or past it; gives where it was seen."""
    if step == "queued":
        return str(one.job(id)["state"])
    wanted = STEPS[STEPS.index(step) :]
    return str(wait_until(lambda: next((s for s in wanted if one.job(id)["state"] == s), None), step, 300, 0.005))


def of_jobs(keys: list[str]) -> list[str]:
    """Keys that belong to a job or wait for one; the others are one each for the whole service."""
    return [key for key in keys if "job_" in key or "in-progress" in key or "retry" in key]


def ended(one: Tree, id: str) -> bool:
    """Whether the job succeeded; it may be forgotten already."""
    answer = one.ask("GET", f"/v1/jobs/{id}")
    return answer.status_code == 404 or answer.json()["state"] in ("succeeded", "expired")


def test_a_kill_at_any_step_leaves_neither_file_nor_key(place: Path) -> None:
    large = photo_like(1200, 1000)  # its result has tiles
    with tree(place, result_ttl=str(TTL_SECONDS), cache_ttl="0") as one:
        one.submit(photo_like(30, 20), "scale=2")
        seen = []
        ids = []
        for step in STEPS:
            id = one.submit(large, "scale=4&format=tiff")
            seen.append(reach(one, id, step))
            one.kill_everything()
            one.start()
            job = one.job(id)
            assert job["state"] not in ("failed", "cancelled"), job
            ids.append(id)
        print(f"killed while the job was {', '.join(seen)}")
        assert set(seen) >= {"queued", "running"}
        removed = one.submit(large, "scale=4&format=tiff")
        reach(one, removed, "running")
        assert one.ask("DELETE", f"/v1/jobs/{removed}").status_code in (202, 204)
        one.kill_everything()
        one.start()
        for each in ids:
            wait_until(lambda each=each: ended(one, each), f"the end of {each}", 300, 0.2)  # type: ignore[misc]

        def files() -> list[str]:
            return [name for name in one.files() if "/.part-" not in name and not name.startswith(".part-")]

        wait_until(lambda: not files(), f"the last file going: {files()}", TTL_SECONDS * 6, 0.5)
        wait_until(
            lambda: not [key for key in of_jobs(one.keys()) if "arq" in key], "the last task's key going", 60, 0.5
        )
        assert one.stop() == 0
        left = one.files()
        print(f"{len(left)} unfinished files were left by kills; the hourly sweep removes them")
        old = [place / "data" / "objects" / name for name in left]
        for path in old:
            os.utime(path, (0, 0))
        open_storage((place / "data" / "objects").as_uri()).sweep()
        assert one.files() == []
