"""What Prometheus is told of the service's state, looked up at the moment when it asks."""

from __future__ import annotations

from collections.abc import Iterator

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
