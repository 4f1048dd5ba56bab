"""What Prometheus is told of the service's state, looked up at the moment when it asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from app import __version__
from app.api.service import Service


class ServiceMetrics:
    """Reads plain numbers of the service from the exposition's thread; waits for nobody."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        """One sample each, whatever state the service is in."""
        service, admission = self._service, self._service.admission
        info = GaugeMetricFamily("chetko_info", "Always 1; the labels say what runs.", labels=("version", "state"))
        info.add_metric((__version__, service.state), 1)
        yield info
        numbers = {
            "chetko_ready": ("1 while pictures are taken, else 0.", service.state == "ready"),
            "chetko_requests_in": ("Pictures taken in: from reception to the end of the answer.", admission.requests),
            "chetko_requests_in_limit": ("Pictures taken in at most (CHETKO_MAX_REQUESTS).", admission.max_requests),
            "chetko_uploads_in": ("Bodies being received.", admission.uploads),
            "chetko_uploads_in_limit": ("Bodies received at once at most (CHETKO_MAX_UPLOADS).", admission.max_uploads),
            "chetko_tiles_waiting": ("Tiles that wait for the device.", service.tiles_waiting()),
        }
        for name, (text, value) in numbers.items():
            yield GaugeMetricFamily(name, text, value=float(value))


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
