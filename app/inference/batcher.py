"""The device's queue: tiles of all pictures in flight, run one group at a time in one thread.

Pictures take turns, tile by tile, so that one of a thousand tiles does not starve one of a single tile.
Nothing waits on an idle device: a group is what has gathered while the device was busy.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Condition, Thread
from types import TracebackType

import numpy as np

from app.imaging.picture import Pixels
from app.inference.errors import DeviceOutOfMemoryError, UpscaleCancelledError
from app.inference.graph import Graph
from app.telemetry import metrics

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Job:
    graph: Graph
    pixels: Pixels
    deliver: Callable[[Pixels], None]
    future: Future[None] = field(default_factory=Future)

    def groups_with(self, other: _Job) -> bool:
        return self.graph is other.graph and self.pixels.shape == other.pixels.shape


class Line:
    """One picture's place in the queue. Leaving the ``with`` block drops what has not run yet."""

    def __init__(self, batcher: Batcher) -> None:
        self._batcher = batcher
        self.jobs: deque[_Job] = deque()
        """Guarded by the batcher's lock."""
        self.closed = False

    def submit(self, graph: Graph, pixels: Pixels, deliver: Callable[[Pixels], None]) -> Future[None]:
        """Queues one tile, (H, W, 3) as the graph takes it.

        ``deliver`` gets the answer, (s*H, s*W, 3), in the device's thread; the future is done after it has
        returned. It fails with what the graph raised, what ``deliver`` raised, or UpscaleCancelledError once
        the line or the batcher is closed.
        """
        return self._batcher.add(self, _Job(graph, pixels, deliver))

    def __enter__(self) -> Line:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._batcher.drop(self)


class Batcher:
    """One device's queue and the thread that serves it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._changed = Condition()
        self._waiting: deque[Line] = deque()
        """Lines that have jobs, the next one first."""
        self._closed = False
        self._thread = Thread(target=self._serve, name=f"chetko-{name}", daemon=True)
        self._thread.start()

    def line(self) -> Line:
        """A place in the queue for one picture."""
        return Line(self)

    def queue_length(self) -> int:
        """Tiles that wait for the device; the ones running are not counted."""
        with self._changed:
            return sum(len(line.jobs) for line in self._waiting)

    def close(self) -> None:
        """Fails what waits, lets the running group finish, and ends the thread. Safe to call twice."""
        with self._changed:
            self._closed = True
            dropped = [job for line in self._waiting for job in line.jobs]
            for line in self._waiting:
                line.jobs.clear()
            self._waiting.clear()
            self._changed.notify_all()
        _fail(dropped, UpscaleCancelledError("The engine is being closed."))
        self._thread.join()

    def add(self, line: Line, job: _Job) -> Future[None]:
        with self._changed:
            if self._closed or line.closed:
                job.future.set_exception(UpscaleCancelledError("The queue is closed."))
                return job.future
            if not line.jobs:
                self._waiting.append(line)
            line.jobs.append(job)
            self._changed.notify()
        return job.future

    def drop(self, line: Line) -> None:
        with self._changed:
            line.closed = True
            dropped = list(line.jobs)
            line.jobs.clear()
            if dropped and line in self._waiting:
                self._waiting.remove(line)
        _fail(dropped, UpscaleCancelledError("The picture was cancelled."))

    def _serve(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                group = self._next_group()
            _run(group, self._name)
            # A finished tile must not stay in memory while this thread waits for the next one.
            del group

    def _next_group(self) -> list[_Job]:
        """The first job of the next line, and jobs of the same graph and shape: one of each line in turn,
        then again, until the graph's batch is full. Lines that gave something go to the end."""
        first = self._waiting[0].jobs[0]
        area = first.pixels.shape[0] * first.pixels.shape[1]
        room = max(1, first.graph.most_pixels // area) if first.graph.batches else 1
        group: list[_Job] = []
        gave = True
        while gave and len(group) < room:
            gave = False
            for line in list(self._waiting):
                if len(group) == room:
                    break
                if not line.jobs[0].groups_with(first):
                    continue
                group.append(line.jobs.popleft())
                gave = True
                self._waiting.remove(line)
                if line.jobs:
                    self._waiting.append(line)
        return group


def _run(group: list[_Job], device: str) -> None:
    """Runs the group at once; if there is no memory for that, in halves, down to single tiles."""
    began = time.perf_counter()
    try:
        pixels = np.stack([job.pixels for job in group]) if len(group) > 1 else group[0].pixels[np.newaxis]
        answers = group[0].graph.run(pixels)
    except DeviceOutOfMemoryError as error:
        metrics.DEVICE_FAILURES.labels(device, error.code).inc()
        if len(group) == 1:
            _fail(group, error)
        else:
            _log.warning("no memory for %d tiles at once: running them in two groups", len(group))
            _run(group[: len(group) // 2], device)
            _run(group[len(group) // 2 :], device)
        return
    except Exception as error:
        metrics.DEVICE_FAILURES.labels(device, getattr(error, "code", "internal_error")).inc()
        _fail(group, error)
        return
    _count(len(group), time.perf_counter() - began, device)
    for job, answer in zip(group, answers, strict=True):
        try:
            job.deliver(answer)
        except Exception as error:
            _fail([job], error)
        else:
            job.future.set_result(None)


def _count(tiles: int, seconds: float, device: str) -> None:
    metrics.BATCH_TILES.labels(device).observe(tiles)
    metrics.DEVICE_BUSY_SECONDS.labels(device).inc(seconds)
    for _ in range(tiles):
        metrics.TILE_SECONDS.labels(device).observe(seconds / tiles)


def _fail(jobs: list[_Job], error: Exception) -> None:
    for job in jobs:
        job.future.set_exception(error)
