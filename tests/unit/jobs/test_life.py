"""The life of a job, from submission to its end."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.inference.enlarge import enlarge
from app.inference.options import Limits, Options
from app.jobs import work
from tests.unit.jobs.conftest import png


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
