"""What an operator sees of jobs: one trace from the request to every task, and counts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from app.jobs import work
from app.telemetry import logs, metrics, traces
from tests.unit.jobs.conftest import png


def counted(counter: Any, **labels: str) -> float:
    return float(counter.labels(**labels)._value.get())


def test_every_task_of_a_job_hangs_below_the_request_that_made_it(
    bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "WHOLE_PIXELS", 0)
    exporter = InMemorySpanExporter()
    traces.use(SimpleSpanProcessor(exporter), "test")

    async def run() -> None:
        async with bench() as b:
            new = await b.new(png(40, 60), model="net")
            with traces.span("request"):
                job = await b.jobs.submit(new)
            async with b.working():
                job = await b.jobs.wait(job.id, 60)
            assert job.state == "succeeded", job.error

    try:
        asyncio.run(run())
    finally:
        traces.shutdown()
    spans = exporter.get_finished_spans()
    (request,) = (span for span in spans if span.name == "request")
    tasks = [span for span in spans if span.name in ("prepare", "strip", "assemble")]
    assert {span.name for span in tasks} == {"prepare", "strip", "assemble"}
    for span in tasks:
        assert span.parent is not None
        assert span.parent.span_id == request.context.span_id
        assert span.context.trace_id == request.context.trace_id


def test_tasks_pixels_and_the_cache_are_counted(bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "WHOLE_PIXELS", 0)

    def numbers() -> list[float]:
        kinds = [counted(metrics.TASKS, kind=kind, outcome="done") for kind in ("prepare", "strip", "assemble")]
        cache = [counted(metrics.CACHE_REQUESTS, outcome=outcome) for outcome in ("miss", "hit")]
        return [*kinds, *cache, counted(metrics.OUTPUT_MEGAPIXELS, model="net", scale="2", way="job")]

    before = numbers()

    async def run() -> None:
        async with bench() as b, b.working():
            for _ in range(2):
                job = await b.jobs.submit(await b.new(png(40, 60), model="net"))
                job = await b.jobs.wait(job.id, 60)
                assert job.state == "succeeded", job.error

    asyncio.run(run())
    grown = [after - earlier for earlier, after in zip(before, numbers(), strict=True)]
    assert grown == pytest.approx([1, 1, 1, 1, 1, 80 * 120 / 1e6])


def test_a_task_of_a_dead_worker_is_counted_as_lost(bench: Callable[..., Any]) -> None:
    before = counted(metrics.TASKS, kind="strip", outcome="lost")

    async def run() -> None:
        async with bench(connect=False) as b:
            janitor = b.jobs._janitor

            async def buried(name: str, *_: Any) -> list[tuple[str, str, int]]:
                assert name == "bury"
                return [("host:1:abc", "job_x.1.strip.0.3", 1)]

            janitor._run = buried
            await janitor._bury()
            b.jobs._janitor._run = b.jobs._run

    asyncio.run(run())
    assert counted(metrics.TASKS, kind="strip", outcome="lost") - before == 1


def test_what_is_logged_during_a_task_bears_its_job(
    bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[str | None] = []
    original = work.Work.do

    def do(self: work.Work, *given: Any, **named: Any) -> Any:
        seen.append(logs.job_id.get())
        return original(self, *given, **named)

    monkeypatch.setattr(work.Work, "do", do)
    made: list[str] = []

    async def run() -> None:
        async with bench() as b, b.working():
            for seed in (1, 2):
                job = await b.jobs.submit(await b.new(png(seed=seed)))
                made.append(job.id)
                await b.jobs.wait(job.id, 60)

    with caplog.at_level(logging.INFO):
        asyncio.run(run())
    assert seen == made
    assert logs.job_id.get() is None
