"""``/metrics`` for Prometheus, on a port of its own."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from prometheus_client import Metric

_SHARED = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus_client reads this variable once, when it is imported: then counters live in files of that folder."""


class Collector(Protocol):
    """Looks facts up at the moment when Prometheus asks, in a thread of the exposition."""

    def collect(self) -> Iterable[Metric]: ...


def share_between_processes() -> None:
    """Lets this process and the children that it starts from now on count together, so that one address shows all.

    To be called before anything imports ``app.telemetry.metrics``. Makes a temporary folder, which goes at exit.
    Does nothing in a child, which inherits its parent's folder.
    """
    if _SHARED not in os.environ:
        folder = tempfile.mkdtemp(prefix="chetko-metrics-")
        os.environ[_SHARED] = folder
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        global _made_here  # noqa: PLW0603  mirrors prometheus_client's per-process state
        _made_here = True


_made_here = False


def shown_by_parent() -> bool:
    """Whether the process that started this one shows its numbers: then this one must not open a port for them."""
    return _SHARED in os.environ and not _made_here


def forget_process(number: int) -> None:
    """Leaves a child that has ended out of what is added up over living processes. What it counted stays."""
    if _SHARED in os.environ:
        from prometheus_client.multiprocess import mark_process_dead  # noqa: PLC0415 - see _SHARED

        mark_process_dead(number)  # type: ignore[no-untyped-call]


class _LookedUp:
    """All that is looked up. Asked before the counted numbers are read, so that it may still change those."""

    def __init__(self) -> None:
        self.collectors: list[Collector] = []

    def collect(self) -> Iterable[Metric]:
        for collector in self.collectors:
            yield from collector.collect()


class Exposition:
    """The port on which Prometheus reads; its thread answers also while the event loop is busy."""

    def __init__(self, host: str, port: int) -> None:
        """Listens at once; port 0 takes a free one. Raises OSError."""
        from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server  # noqa: PLC0415
        from prometheus_client.multiprocess import MultiProcessCollector  # noqa: PLC0415

        from app.telemetry.metrics import METRICS  # noqa: PLC0415 - imports prometheus_client, see _SHARED

        self._registry = CollectorRegistry()
        self._looked_up = _LookedUp()
        self._registry.register(self._looked_up)
        if _SHARED in os.environ:
            MultiProcessCollector(self._registry)  # type: ignore[no-untyped-call]
        else:
            self._registry.register(METRICS)
        ProcessCollector(registry=self._registry)
        self._server, self._thread = start_http_server(port, host.strip("[]"), self._registry)
        self.port: int = self._server.server_port

    def add(self, collector: Collector) -> None:
        """Shows what ``collector`` looks up, beside what is counted."""
        self._looked_up.collectors.append(collector)

    def close(self) -> None:
        """Gives the port back; returns when the thread has ended."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
