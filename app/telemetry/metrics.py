"""Every counter and histogram of the service, each with the question that it answers.

Counted in plain variables, or, in a process tree that ``exposition.share_between_processes`` prepared, in files that
all of its processes share. State that can be looked up (queue length, places taken) is not counted here: collectors
read it when Prometheus asks, see ``exposition.Exposition.add``. What several server processes hold is added up over
those that live (``app.api.service_metrics``); ``exposition.forget_process`` takes a dead one's share away.

Label values come from closed sets (route templates, codes, model names): a caller cannot make new time series.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

METRICS = CollectorRegistry()
"""All of what is below."""

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_TILE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

REQUESTS = Counter(
    "chetko_http_requests",
    "Answered HTTP requests. route: its template, or 'other' where there is no such route. status: 'aborted' where "
    "the client left before an answer began.",
    ("method", "route", "status"),
    registry=METRICS,
)
REQUEST_SECONDS = Histogram(
    "chetko_http_request_seconds",
    "From a request's head to the last byte of its answer, the client's own slowness included.",
    ("route",),
    buckets=_SECONDS,
    registry=METRICS,
)
PROBLEMS = Counter(
    "chetko_problems",
    "Refusals and failures by their stable code, as callers see it in application/problem+json.",
    ("code", "status"),
    registry=METRICS,
)

OUTPUT_MEGAPIXELS = Counter(
    "chetko_output_megapixels",
    "Megapixels of finished results. scale: the network's, 4+2 for two passes. way: 'sync' for an answer to its "
    "request, 'job' for a strip of a job.",
    ("model", "scale", "way"),
    registry=METRICS,
)
PICTURE_SECONDS = Histogram(
    "chetko_picture_seconds",
    "Where a synchronous picture's time goes. phase: queue (for a compute thread), decode, inference, encode.",
    ("phase",),
    buckets=_SECONDS,
    registry=METRICS,
)

TASKS = Counter(
    "chetko_tasks",
    "Tasks of jobs. kind: prepare, strip, assemble, tiles, pack. outcome: done, failed, retried (put back by its "
    "worker), lost (its worker died; the janitor put it back).",
    ("kind", "outcome"),
    registry=METRICS,
)
CACHE_REQUESTS = Counter(
    "chetko_cache_requests",
    "Jobs by what the cache said: hit (answered by an earlier job's result) or miss.",
    ("outcome",),
    registry=METRICS,
)

BATCH_TILES = Histogram(
    "chetko_batch_tiles",
    "Tiles that ran on the device at once.",
    ("device",),
    buckets=(1, 2, 4, 8, 16, 32, 64),
    registry=METRICS,
)
TILE_SECONDS = Histogram(
    "chetko_tile_seconds",
    "Device seconds for one tile: those of its batch divided by the batch's tiles.",
    ("device",),
    buckets=_TILE_SECONDS,
    registry=METRICS,
)
DEVICE_BUSY_SECONDS = Counter(
    "chetko_device_busy_seconds",
    "Seconds in which the device computed. Its rate is the device's busy share, 0 to 1 for each process.",
    ("device",),
    registry=METRICS,
)
DEVICE_FAILURES = Counter(
    "chetko_device_failures",
    "Runs on the device that failed, by the code of the error; out of memory is tried again in smaller pieces.",
    ("device", "code"),
    registry=METRICS,
)
