"""``chetko jobs``, as an operator types it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.cli import main
from app.jobs.scripts import Scripts
from app.storage import open_storage
from tests.unit.jobs.conftest import png


@pytest.fixture
def made(redis_url: str, tmp_path: Path, bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A queued, a failed and a finished job, and an environment that leads to them."""
    monkeypatch.setenv("CHETKO_REDIS_URL", redis_url)
    monkeypatch.setenv("CHETKO_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("CHETKO_STORAGE_URL", f"file://{tmp_path}/objects")

    async def make() -> dict[str, str]:
        ids = {}
        async with bench(connect=False) as b:
            b.storage = b.jobs.storage = open_storage(f"file://{tmp_path}/objects")
            run = Scripts(b.redis)
            for number, name in enumerate(("queued", "failed", "succeeded")):
                ids[name] = (await b.jobs.submit(await b.new(png(seed=number), owner=f"key_{name}"))).id
            await run("fail", f"{ids['failed']}.1.prepare.0.0", "broken_picture", "It is damaged.")
            async with b.working():
                await b.jobs.wait(ids["succeeded"], 30)
            ids["queued"] = (await b.jobs.submit(await b.new(png(seed=9)))).id
        return ids

    return asyncio.run(make())


def printed(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> tuple[str, str]:
    assert main(["jobs", *arguments]) == code
    return capsys.readouterr()


def test_operators_see_all_jobs(made: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    table, _ = printed(capsys, "ls")
    lines = table.splitlines()
    assert lines[0].split() == ["JOB", "STATE", "DONE", "CREATED", "OWNER", "WHAT"]
    assert made["queued"] in lines[1]
    (failed,) = [line for line in lines if made["failed"] in line]
    assert failed.endswith("48 x 40 png: broken_picture")
    only, _ = printed(capsys, "ls", "--state", "failed", "--json")
    assert [job["id"] for job in json.loads(only)] == [made["failed"]]
    assert [job["owner"] for job in json.loads(printed(capsys, "ls", "--owner", "key_failed", "--json")[0])] == [
        "key_failed"
    ]
    one, _ = printed(capsys, "show", made["succeeded"])
    assert json.loads(one)["state"] == "succeeded"


def test_operators_cancel_and_begin_again(made: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "is cancelled" in printed(capsys, "cancel", made["queued"])[0]
    assert "has ended before" in printed(capsys, "cancel", made["succeeded"], code=1)[1]
    assert "queued again" in printed(capsys, "retry", made["failed"])[0]
    assert "only failed jobs" in printed(capsys, "retry", made["succeeded"], code=1)[1]
    for command in ("show", "cancel", "retry"):
        assert "there is no job" in printed(capsys, command, "job_none", code=1)[1]


def test_purging_removes_the_files(made: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    storage = open_storage(f"file://{tmp_path}/objects")
    assert "0 finished jobs" in printed(capsys, "purge", "--older-than", "1")[0]
    assert "1 finished jobs" in printed(capsys, "purge", "--state", "failed")[0]
    assert list(storage.list(f"jobs/{made['succeeded']}"))
    printed(capsys, "purge")
    assert {key.split("/")[1] for key, _ in storage.list("jobs")} == {made["queued"]}
    assert "there is no job" in printed(capsys, "show", made["failed"], code=1)[1]


def test_a_queue_that_does_not_answer_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHETKO_REDIS_URL", f"unix://{tmp_path}/nobody")
    monkeypatch.setenv("CHETKO_DATA_DIR", str(tmp_path))
    assert "does not answer" in printed(capsys, "ls", code=2)[1]
