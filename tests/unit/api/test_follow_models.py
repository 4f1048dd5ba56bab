"""How the service exchanges its models: pictures in flight, failures, and asking for it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, cast

import pytest

from app.api.problems import UnavailableProblem
from app.api.service import Service
from app.inference.backend import Backend
from app.inference.engine import Engine
from app.inference.enlarge import Options, Report
from app.inference.errors import BrokenModelError
from app.inference.registry import Registry
from app.inference.watch import ModelWatch
from app.settings import Settings
from tests.models import write_model


class _NoEngine:
    def close(self) -> None:
        """There is nothing to close."""


def backend(name: str, hold: threading.Event | None = None) -> Backend:
    """Computes nothing; its report bears its name."""

    def enlarge(*_: Any, **__: Any) -> Report:
        if hold is not None:
            assert hold.wait(10)
        return cast("Report", name)

    return Backend(Registry([]), cast("Engine", _NoEngine()), enlarge)


async def _silence() -> Any:
    await asyncio.Event().wait()


async def report_of(service: Service, chosen: Backend) -> str:
    finished = await service.enlarge(chosen, cast("Any", None), cast("Any", None), Options(), _silence)
    return cast("str", finished.report)


def run(
    tmp_path: Path,
    test: Callable[[Service], Coroutine[Any, Any, None]],
    *,
    first: Backend,
    load: Callable[[Backend], Backend],
    every_seconds: float = 0,
) -> None:
    """Runs ``test`` on a service that is ready with ``first`` and follows ``tmp_path``."""

    async def both() -> None:
        service = Service(Settings(max_active_pictures=2))
        following = asyncio.ensure_future(
            service.follow_models(ModelWatch([tmp_path]), load, every_seconds=every_seconds)
        )
        await service.start(lambda: first)
        try:
            await asyncio.wait_for(test(service), 20)
        finally:
            service.drain()
            following.cancel()
            await asyncio.to_thread(service.close)

    asyncio.run(both())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what is waited for sets no event
        await asyncio.sleep(0.005)


def test_pictures_finish_on_the_models_that_they_began_with(tmp_path: Path) -> None:
    hold = threading.Event()
    old, new = backend("old", hold), backend("new")

    async def test(service: Service) -> None:
        admitted = service.backend
        running = asyncio.ensure_future(report_of(service, admitted))
        service.reload_asked.set()
        await until(lambda: service.backend is new)
        assert await report_of(service, service.backend) == "new"
        assert not running.done()
        hold.set()
        assert await running == "old"

    run(tmp_path, test, first=old, load=lambda _: new)


@pytest.mark.parametrize("failure", [BrokenModelError("net is broken."), RuntimeError("what nobody expected")])
def test_what_cannot_be_loaded_is_told_and_the_old_ones_stay(
    tmp_path: Path, failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = backend("old"), backend("new")
    answers: list[Backend | Exception] = [failure, new]

    def load(present: Backend) -> Backend:
        assert present is old
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def test(service: Service) -> None:
        service.reload_asked.set()
        await until(lambda: len(answers) == 1 and bool(caplog.records))
        assert service.backend is old
        service.reload_asked.set()
        await until(lambda: service.backend is new)

    with caplog.at_level(logging.ERROR):
        run(tmp_path, test, first=old, load=load)
    assert len(caplog.records) == 1
    assert str(failure) in caplog.text


def test_a_changed_folder_is_read_once_and_a_broken_one_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loads = 0

    def load(_: Backend) -> Backend:
        nonlocal loads
        loads += 1
        raise BrokenModelError("broken")

    async def test(service: Service) -> None:
        await asyncio.sleep(0.2)
        assert loads == 0, "nothing changed"
        write_model(tmp_path, "ant")
        await until(lambda: loads == 1)
        await asyncio.sleep(0.2)
        assert loads == 1, "nothing changed since"

    run(tmp_path, test, first=backend("old"), load=load, every_seconds=0.02)
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_nothing_is_followed_when_the_start_fails(tmp_path: Path) -> None:
    async def test() -> None:
        service = Service(Settings())

        def fail() -> Backend:
            raise BrokenModelError("broken")

        await service.start(fail)
        await asyncio.wait_for(service.follow_models(ModelWatch([tmp_path]), lambda old: old, every_seconds=0), 5)
        with pytest.raises(UnavailableProblem):
            _ = service.backend
        service.close()

    asyncio.run(test())
