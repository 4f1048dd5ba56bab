"""The device's queue: turns, groups, what is dropped, and what happens without memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from app.imaging.picture import Pixels
from app.inference.batcher import Batcher
from app.inference.errors import DeviceOutOfMemoryError, UpscaleCancelledError

_WAIT = 10.0


class FakeGraph:
    """Doubles every pixel's level; remembers what it ran, and stands still until it is let go."""

    def __init__(self, *, batches: bool = True, most_pixels: int = 10**9, free: bool = True) -> None:
        self.batches = batches
        self.most_pixels = most_pixels
        self.runs: list[list[int]] = []
        """The first levels of each run's tiles."""
        self.free = threading.Event()
        self.busy = threading.Event()
        self.memory = 10**9
        """Pixels of one run, above which there is none."""
        if free:
            self.free.set()

    def run(self, pixels: Pixels) -> Pixels:
        self.busy.set()
        assert self.free.wait(_WAIT)
        if pixels.shape[0] * pixels.shape[1] * pixels.shape[2] > self.memory:
            raise DeviceOutOfMemoryError("no memory")
        self.runs.append(pixels[:, 0, 0, 0].tolist())
        return pixels * 2


@pytest.fixture
def batcher() -> Iterator[Batcher]:
    batcher = Batcher("test")
    yield batcher
    batcher.close()


def _tile(level: int, edge: int = 4) -> Pixels:
    return np.full((edge, edge, 3), level, np.uint8)


def _ignore(_: Pixels) -> None:
    return


def _hold(batcher: Batcher, graph: Any) -> Any:
    """Occupies the device with one tile, so that what follows gathers behind it."""
    future = batcher.line().submit(graph, _tile(0), _ignore)
    assert graph.busy.wait(_WAIT)
    return future


def test_an_answer_reaches_its_tile(batcher: Batcher) -> None:
    graph: Any = FakeGraph()
    answers: dict[int, Pixels] = {}
    with batcher.line() as line:
        futures = [line.submit(graph, _tile(level), lambda a, k=level: answers.update({k: a})) for level in range(5)]
        for future in futures:
            future.result(_WAIT)
    for level in range(5):
        np.testing.assert_array_equal(answers[level], _tile(2 * level))


def test_nothing_waits_on_an_idle_device(batcher: Batcher) -> None:
    graph: Any = FakeGraph()
    with batcher.line() as line:
        started = time.perf_counter()
        line.submit(graph, _tile(1), _ignore).result(_WAIT)
    assert time.perf_counter() - started < 0.5
    assert graph.runs == [[1]], "it ran alone and at once"


def test_equal_shapes_of_several_pictures_run_together(batcher: Batcher) -> None:
    graph: Any = FakeGraph(free=False)
    _hold(batcher, graph)
    lines = [batcher.line() for _ in range(3)]
    futures = [line.submit(graph, _tile(level), _ignore) for level, line in enumerate(lines, 1)]
    other = batcher.line().submit(graph, _tile(9, edge=5), _ignore)
    graph.free.set()
    for future in [*futures, other]:
        future.result(_WAIT)
    assert graph.runs == [[0], [1, 2, 3], [9]]


def test_graphs_are_not_mixed(batcher: Batcher) -> None:
    one: Any = FakeGraph(free=False)
    other: Any = FakeGraph()
    _hold(batcher, one)
    futures = [batcher.line().submit(graph, _tile(1), _ignore) for graph in (one, other, one)]
    one.free.set()
    for future in futures:
        future.result(_WAIT)
    assert one.runs == [[0], [1, 1]]
    assert other.runs == [[1]]


def test_a_batch_is_bounded_by_its_pixels(batcher: Batcher) -> None:
    graph: Any = FakeGraph(free=False, most_pixels=3 * 16 + 5)
    _hold(batcher, graph)
    line = batcher.line()
    futures = [line.submit(graph, _tile(level), _ignore) for level in range(1, 8)]
    graph.free.set()
    for future in futures:
        future.result(_WAIT)
    assert graph.runs == [[0], [1, 2, 3], [4, 5, 6], [7]]


def test_a_tile_above_the_batch_limit_runs_alone(batcher: Batcher) -> None:
    graph: Any = FakeGraph(most_pixels=3)
    batcher.line().submit(graph, _tile(1), _ignore).result(_WAIT)
    assert graph.runs == [[1]]


def test_a_device_that_gains_nothing_from_batches_runs_single_tiles(batcher: Batcher) -> None:
    graph: Any = FakeGraph(free=False, batches=False)
    _hold(batcher, graph)
    futures = [batcher.line().submit(graph, _tile(level), _ignore) for level in (1, 2)]
    graph.free.set()
    for future in futures:
        future.result(_WAIT)
    assert graph.runs == [[0], [1], [2]]


def test_a_picture_of_a_thousand_tiles_does_not_starve_one_of_a_single_tile(batcher: Batcher) -> None:
    graph: Any = FakeGraph(free=False, batches=False)
    _hold(batcher, graph)
    with batcher.line() as many:
        for _ in range(1000):
            many.submit(graph, _tile(1), _ignore)
        single = batcher.line().submit(graph, _tile(2), _ignore)
        graph.free.set()
        single.result(_WAIT)
        assert [2] in graph.runs[:3], "after one tile of the large picture, not after all"


def test_pictures_take_turns(batcher: Batcher) -> None:
    graph: Any = FakeGraph(free=False, batches=False)
    _hold(batcher, graph)
    futures = []
    for level in (1, 2, 3):
        line = batcher.line()
        futures += [line.submit(graph, _tile(level), _ignore) for _ in range(3)]
    graph.free.set()
    for future in futures:
        future.result(_WAIT)
    assert graph.runs[1:] == [[1], [2], [3]] * 3


def test_a_batch_takes_from_every_picture_before_it_takes_twice_from_one(batcher: Batcher) -> None:
    graph: Any = FakeGraph(free=False, most_pixels=4 * 16)
    _hold(batcher, graph)
    many, few = batcher.line(), batcher.line()
    futures = [many.submit(graph, _tile(1), _ignore) for _ in range(6)]
    futures += [few.submit(graph, _tile(2), _ignore) for _ in range(2)]
    graph.free.set()
    for future in futures:
        future.result(_WAIT)
    assert graph.runs == [[0], [1, 2, 1, 2], [1, 1, 1, 1]]


def test_leaving_a_line_drops_what_has_not_run(batcher: Batcher) -> None:
    graph: Any = FakeGraph(free=False)
    running = _hold(batcher, graph)
    with batcher.line() as line:
        waiting = [line.submit(graph, _tile(1), _ignore) for _ in range(5)]
        assert batcher.queue_length() == 5
    assert batcher.queue_length() == 0
    graph.free.set()
    running.result(_WAIT)
    for future in waiting:
        with pytest.raises(UpscaleCancelledError):
            future.result(_WAIT)
    batcher.line().submit(graph, _tile(7), _ignore).result(_WAIT)
    assert graph.runs == [[0], [7]], "the dropped ones never ran, the device goes on"
    with pytest.raises(UpscaleCancelledError):
        line.submit(graph, _tile(1), _ignore).result(_WAIT)


def test_closing_fails_what_waits_and_lets_the_running_tile_finish() -> None:
    batcher = Batcher("test")
    graph: Any = FakeGraph(free=False)
    running = _hold(batcher, graph)
    line = batcher.line()
    waiting = line.submit(graph, _tile(1), _ignore)
    threading.Timer(0.1, graph.free.set).start()
    batcher.close()
    batcher.close()
    assert running.result(0) is None
    with pytest.raises(UpscaleCancelledError):
        waiting.result(0)
    with pytest.raises(UpscaleCancelledError):
        line.submit(graph, _tile(1), _ignore).result(0)
    line.__exit__(None, None, None)


def test_a_batch_without_memory_runs_in_halves(batcher: Batcher) -> None:
    graph: Any = FakeGraph(free=False)
    _hold(batcher, graph)
    line = batcher.line()
    futures = [line.submit(graph, _tile(level), _ignore) for level in range(1, 8)]
    graph.memory = 2 * 16
    graph.free.set()
    for future in futures:
        future.result(_WAIT)
    assert graph.runs == [[0], [1], [2, 3], [4, 5], [6, 7]]


def test_a_single_tile_without_memory_fails_alone(batcher: Batcher) -> None:
    graph: Any = FakeGraph(free=False)
    _hold(batcher, graph)
    line = batcher.line()
    large = line.submit(graph, _tile(1, edge=9), _ignore)
    small = line.submit(graph, _tile(2), _ignore)
    graph.memory = 16
    graph.free.set()
    with pytest.raises(DeviceOutOfMemoryError):
        large.result(_WAIT)
    small.result(_WAIT)


def test_a_failing_run_and_a_failing_delivery_fail_their_own_tiles_only(batcher: Batcher) -> None:
    class Broken(FakeGraph):
        def run(self, pixels: Pixels) -> Pixels:
            raise RuntimeError(f"broken network, {pixels.shape[0]} tile")

    def refuse(_: Pixels) -> None:
        raise ValueError("no place for this")

    graph: Any = FakeGraph()
    broken: Any = Broken()
    with batcher.line() as line:
        with pytest.raises(RuntimeError, match="broken network"):
            line.submit(broken, _tile(1), _ignore).result(_WAIT)
        with pytest.raises(ValueError, match="no place"):
            line.submit(graph, _tile(1), refuse).result(_WAIT)
        line.submit(graph, _tile(1), _ignore).result(_WAIT)
