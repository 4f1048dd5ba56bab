"""The life of a job, from submission to its end."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.imaging.picture import BrokenPictureError
from app.inference.enlarge import enlarge
from app.inference.errors import UpscaleCancelledError
from app.inference.options import Limits, Options
from app.jobs import scripts, work, worker
from app.jobs.verdict import judge
from app.storage import StorageError
from tests.unit.jobs.conftest import Bench, png, until


def test_a_picture_becomes_a_result(bench: Callable[..., Any]) -> None:
    async def run() -> None:
        async with bench() as b:
            new = await b.new(png(48, 40))
            job = await b.jobs.submit(new)
            assert (job.state, job.position, job.progress) == ("queued", 0, 0)
            async with b.working():
                job = await b.jobs.wait(job.id, 30)
            assert job.state == "succeeded", job.error
            assert (job.progress, job.position, job.seconds_left) == (1.0, None, None)
            assert (job.result.width, job.result.height) == (96, 80)
            with Image.open(io.BytesIO(b.storage.get(job.result.key))) as result:
                found = np.asarray(result)
            with Image.open(io.BytesIO(png(48, 40))) as source:
                expected = np.asarray(source).repeat(2, 0).repeat(2, 1)
            assert np.array_equal(found, expected)
            assert await b.redis.zcard("{chetko}:queue") == 0

    asyncio.run(run())


def test_strips_give_the_picture_of_the_synchronous_way(
    bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "WHOLE_PIXELS", 0)
    monkeypatch.setattr(work, "TARGET_SECONDS", 1e-6)  # a strip for each band

    async def run() -> None:
        async with bench() as b:
            picture = png(100, 400, mode="RGBA")
            b.engine._memory, memory = 1, b.engine._memory
            try:
                new = await b.new(picture, model="net")
                job = await b.jobs.submit(new)
                async with b.working(), b.working():
                    job = await b.jobs.wait(job.id, 60)
            finally:
                b.engine._memory = memory
            assert job.state == "succeeded", job.error
            assert job.done == job.total > 3
            expected = io.BytesIO()
            enlarge(io.BytesIO(picture), expected, Options("net", 2, format="png"), b.engine, limits=Limits(None, None))
            with Image.open(io.BytesIO(b.storage.get(job.result.key))) as one, Image.open(expected) as other:
                assert np.array_equal(np.asarray(one), np.asarray(other))
            assert not [file for file in b.files(job.id) if "/strip/" in file]

    asyncio.run(run())


def test_cancelling_stops_the_computing_and_removes_the_files(
    bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    began = threading.Event()
    ended = threading.Event()

    def slow(*_: Any, cancelled: Callable[[], bool], **__: Any) -> None:
        began.set()
        while not cancelled():
            time.sleep(0.01)
        ended.set()
        raise UpscaleCancelledError("stopped")

    monkeypatch.setattr(work, "enlarge", slow)

    async def run() -> None:
        async with bench() as b:
            job = await b.jobs.submit(await b.new())
            async with b.working():
                await asyncio.to_thread(began.wait, 30)
                assert (await b.jobs.get(job.id)).state == "preparing"
                asked = time.monotonic()
                assert await b.jobs.cancel(job.id)
                await asyncio.to_thread(ended.wait, 30)
                assert time.monotonic() - asked < 3  # a second, on a machine that has nothing else to do
                assert (await b.jobs.get(job.id)).state == "cancelled"
                await until(lambda: gone(b, job.id))
            assert await b.redis.hlen("{chetko}:running") == 0
            assert await b.redis.zcard("{chetko}:queue") == 0

    asyncio.run(run())


async def gone(b: Bench, id: str) -> bool:  # noqa: A002
    return not b.files(id)


def test_a_worker_that_stops_gives_its_task_back(bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    began = threading.Event()
    whole = work.enlarge

    def once(*given: Any, cancelled: Callable[[], bool], **more: Any) -> Any:
        if began.is_set():
            return whole(*given, cancelled=cancelled, **more)
        began.set()
        while not cancelled():
            time.sleep(0.01)
        raise UpscaleCancelledError("stopped")

    monkeypatch.setattr(work, "enlarge", once)

    async def run() -> None:
        async with bench() as b:
            job = await b.jobs.submit(await b.new())
            async with b.working(drain_seconds=0):
                await asyncio.to_thread(began.wait, 30)
            async with b.working():
                job = await b.jobs.wait(job.id, 30)
            assert job.state == "succeeded", job.error
            record = await b.redis.hgetall("{chetko}:job:" + job.id)
            assert not [name for name in record if name.startswith((b"deaths", b"tries"))]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("error", "code", "runs"),
    [
        (BrokenPictureError("broken_picture", "It is damaged."), "broken_picture", 1),
        (StorageError("storage_full", "No room."), "storage_full", 3),
        (ValueError("a bug"), "internal_error", 3),
        (TimeoutError(), "timed_out", 3),
    ],
)
def test_what_fails_is_tried_again_where_that_can_help(
    bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, error: Exception, code: str, runs: int
) -> None:
    ran = []

    def fails(*_: Any, **__: Any) -> None:
        ran.append(1)
        raise error

    monkeypatch.setattr(work, "enlarge", fails)
    monkeypatch.setattr(
        worker, "judge", lambda each: replace(judge(each), tries=min(3, judge(each).tries), wait_seconds=0.01)
    )

    async def run() -> None:
        async with bench() as b:
            job = await b.jobs.submit(await b.new())
            async with b.working():
                job = await b.jobs.wait(job.id, 30)
            assert job.state == "failed"
            assert job.error.code == code
            assert len(ran) == runs
            assert "Traceback" not in job.error.detail

    asyncio.run(run())


def test_a_message_of_another_release_is_left_for_its_own_workers(bench: Callable[..., Any]) -> None:
    async def run() -> None:
        async with bench() as b:
            new = await b.new()
            key = f"arq:job:{new.id}.1.prepare.0.0"
            job = await b.jobs.submit(new)
            message = json.loads(await b.redis.get(key))
            message["k"]["v"] = 99
            await b.redis.set(key, json.dumps(message))
            async with b.working():
                other = await b.jobs.submit(await b.new(fresh=True))
                assert (await b.jobs.wait(other.id, 30)).state == "succeeded"
                await asyncio.sleep(0.2)
            assert (await b.jobs.get(job.id)).state == "queued"
            assert await b.redis.zcard("{chetko}:queue") == 1

    asyncio.run(run())


def test_a_job_whose_model_was_exchanged_fails_and_says_so(
    bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "judge", lambda each: replace(judge(each), tries=2, wait_seconds=0.01))

    async def run() -> None:
        async with bench() as b:
            job = await b.jobs.submit(replace(await b.new(), version="0.0.1"))
            async with b.working():
                job = await b.jobs.wait(job.id, 30)
            assert (job.state, job.error.code) == ("failed", "model_changed")

    asyncio.run(run())


_WITHOUT_DEVICE = """
import sys
from types import SimpleNamespace
from app.inference.errors import DeviceLostError
from app.jobs import worker
from app.settings import Settings

def lost(*_, **__):
    raise DeviceLostError("The GPU no longer answers.")

worker.Work.do = lost
engine = SimpleNamespace(device=SimpleNamespace(name="cuda:0"))
worker.run_worker(Settings(redis_url=sys.argv[1], storage_url=sys.argv[2]), SimpleNamespace(engine=engine))
"""


def test_a_worker_that_lost_its_device_ends_and_fails_no_job(bench: Callable[..., Any], storage_url: str) -> None:
    async def run() -> None:
        async with bench() as b:
            job = await b.jobs.submit(await b.new())
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", _WITHOUT_DEVICE, b.redis_url, storage_url, stderr=asyncio.subprocess.PIPE
            )
            _, said = await asyncio.wait_for(process.communicate(), 60)
            assert process.returncode == 70, said.decode()
            assert not (await b.jobs.get(job.id)).is_final
            async with b.working():
                assert (await b.jobs.wait(job.id, 60)).state == "succeeded"

    asyncio.run(run())


def test_several_pictures_come_as_one_zip(bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with bench() as b:
            pictures = [png(20, 10, seed=seed) for seed in range(3)]
            job = await b.jobs.submit(await b.new(pictures=pictures, batch=True, name="../cat.png"))
            async with b.working():
                job = await b.jobs.wait(job.id, 60)
            assert job.state == "succeeded", job.error
            data = b.storage.get(job.result.key)
            assert hashlib.sha256(data).hexdigest() == job.result.sha256
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                assert archive.testzip() is None
                assert archive.namelist() == ["cat_x2.png", "cat_x2 (2).png", "cat_x2 (3).png"]
                for name, picture in zip(archive.namelist(), pictures, strict=True):
                    with Image.open(archive.open(name)) as result, Image.open(io.BytesIO(picture)) as source:
                        assert np.array_equal(np.asarray(result), np.asarray(source).repeat(2, 0).repeat(2, 1))
            assert [file for file in b.files(job.id) if "/result/" in file] == []

    asyncio.run(run())


def test_what_has_expired_leaves_neither_files_nor_keys(
    bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(scripts.CONSTANTS, "tombstone_ms", 1)  # type: ignore[arg-type]

    async def run() -> None:
        async with bench(result_ttl=1, cache_ttl=0) as b:
            job = await b.jobs.submit(await b.new(owner="me"))
            async with b.working():
                assert (await b.jobs.wait(job.id, 30)).state == "succeeded"
            assert b.files(job.id)

            async def forgotten() -> bool:
                return await b.jobs.get(job.id) is None and not b.files(job.id)

            await until(forgotten)
            await until(lambda: only(b, {"{chetko}:clock", "{chetko}:speed", "{chetko}:lease"}))

    asyncio.run(run())


async def only(b: Bench, expected: set[str]) -> bool:
    return {key.decode() for key in await b.redis.keys("*")} <= expected
