"""The life of a job, from submission to its end."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

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
            with Image.open(io.BytesIO(b.storage.get(f"jobs/{job.id}/result"))) as result:
                found = np.asarray(result)
            with Image.open(io.BytesIO(png(48, 40))) as source:
                expected = np.asarray(source).repeat(2, 0).repeat(2, 1)
            assert np.array_equal(found, expected)
            assert await b.redis.zcard("{chetko}:queue") == 0

    asyncio.run(run())
