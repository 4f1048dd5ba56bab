"""What Prometheus is told of the service's state, looked up at the moment when it asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Protocol

from prometheus_client import Gauge, Metric
from prometheus_client.core import GaugeMetricFamily

from app import __version__
from app.api.service import Service
from app.telemetry.metrics import METRICS

PUBLISH_SECONDS = 1.0
"""How often a server process beside the first one tells what it holds."""


def _gauge(name: str, text: str) -> Gauge:
    return Gauge(name, text, multiprocess_mode="livesum", registry=METRICS)


_REQUESTS = _gauge("chetko_requests_in", "Pictures taken in: from reception to the end of the answer.")
_MOST_REQUESTS = _gauge(
    "chetko_requests_in_limit", "Pictures taken in at most: CHETKO_MAX_REQUESTS of every server process."
)
_UPLOADS = _gauge("chetko_uploads_in", "Bodies being received.")
_MOST_UPLOADS = _gauge(
    "chetko_uploads_in_limit", "Bodies received at once at most: CHETKO_MAX_UPLOADS of every server process."
)
_TILES = _gauge("chetko_tiles_waiting", "Tiles of pictures answered at once that wait for the device.")


class ServiceMetrics:
    """Reads plain numbers of the service from the exposition's thread; waits for nobody."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def publish(self) -> None:
        """Tells what this process holds; over several server processes it is added up."""
        admission = self._service.admission
        _REQUESTS.set(admission.requests)
        _MOST_REQUESTS.set(admission.max_requests)
        _UPLOADS.set(admission.uploads)
        _MOST_UPLOADS.set(admission.max_uploads)
        _TILES.set(self._service.tiles_waiting())

    async def keep_published(self) -> None:
        """Publishes for as long as it is not cancelled: for a process that Prometheus does not ask itself."""
        while True:
            self.publish()
            await asyncio.sleep(PUBLISH_SECONDS)

    def collect(self) -> Iterator[Metric]:
        """What only this process is asked for; what it holds is published before the counted numbers are read."""
        self.publish()
        info = GaugeMetricFamily("chetko_info", "Always 1; the labels say what runs.", labels=("version", "state"))
        info.add_metric((__version__, self._service.state), 1)
        yield info
        ready = float(self._service.takes_pictures)
        yield GaugeMetricFamily("chetko_ready", "1 while pictures are taken, as /readyz has it, else 0.", value=ready)


class QueueHealth(Protocol):
    """What is known of queue and storage (``app.jobs`` asks them)."""

    @property
    def queue_reachable(self) -> bool: ...
    @property
    def storage_writable(self) -> bool: ...
    @property
    def workers(self) -> int: ...
    @property
    def queued(self) -> int: ...
    @property
    def active(self) -> int: ...
    @property
    def oldest_seconds(self) -> float | None: ...
    @property
    def running(self) -> int: ...
    @property
    def stored_bytes(self) -> int: ...


class QueueMetrics:
    """Asks queue and storage how they are, each time that Prometheus asks."""

    def __init__(self, ask: Callable[[], QueueHealth | None]) -> None:
        """``ask`` is called in the exposition's thread; None where there is no queue, or no answer in time."""
        self._ask = ask

    def collect(self) -> Iterator[Metric]:
        """Numbers that only the queue knows are left out while it does not answer: they would be lies."""
        health = self._ask()
        up = health is not None and health.queue_reachable
        yield GaugeMetricFamily("chetko_queue_up", "1 while the queue server answers, else 0.", value=float(up))
        writable = health is not None and health.storage_writable
        yield GaugeMetricFamily("chetko_storage_up", "1 while storage can be written, else 0.", value=float(writable))
        numbers = {
            "chetko_workers": "Living workers.",
            "chetko_jobs_queued": "Jobs that nobody has begun.",
            "chetko_jobs_active": "Jobs that are not finished, the queued ones too.",
            "chetko_jobs_oldest_seconds": "Age of the oldest unfinished job while any waits; 0 while none does.",
            "chetko_storage_bytes": "Bytes of sources, results and tiles that jobs keep in storage.",
            "chetko_tasks_running": "Tasks (prepare, strip, assemble, tiles, pack) that workers compute now.",
        }
        families = [GaugeMetricFamily(name, text) for name, text in numbers.items()]
        if health is not None and up:
            values = (
                health.workers,
                health.queued,
                health.active,
                health.oldest_seconds or 0.0,
                health.stored_bytes,
                health.running,
            )
            for family, value in zip(families, values, strict=True):
                family.add_metric((), float(value))
        yield from families
