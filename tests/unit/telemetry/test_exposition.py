"""What Prometheus reads, of one process and of several."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families

from app.api.service_metrics import QueueHealth, QueueMetrics
from app.telemetry import metrics
from app.telemetry.exposition import Exposition

ROOT = Path(__file__).resolve().parents[3]

_FAMILY = """
import json, os, signal, subprocess, sys, urllib.request
from app.telemetry.exposition import Exposition, share_between_processes, shown_by_parent
share_between_processes()
assert not shown_by_parent()
child = '''
import os, signal
from app.telemetry.exposition import share_between_processes, shown_by_parent
share_between_processes()
assert shown_by_parent()
from app.api.service_metrics import QueueHealth, QueueMetrics
from app.telemetry import metrics
metrics.PROBLEMS.labels("overloaded", "503").inc(2)
metrics.BATCH_TILES.labels("cpu").observe(4)
os.kill(os.getpid(), signal.SIGKILL)
'''
from app.api.service_metrics import QueueHealth, QueueMetrics
from app.telemetry import metrics
metrics.PROBLEMS.labels("overloaded", "503").inc(3)
assert subprocess.run([sys.executable, "-c", child]).returncode == -signal.SIGKILL
shown = Exposition("127.0.0.1", 0)
text = urllib.request.urlopen(f"http://127.0.0.1:{shown.port}/metrics").read().decode()
shown.close()
print(json.dumps([text, os.environ["PROMETHEUS_MULTIPROC_DIR"]]))
"""


class _Two:
    def collect(self) -> Iterable[Metric]:
        yield GaugeMetricFamily("chetko_two", "Two.", value=2)


def samples(text: str) -> dict[str, float]:
    """``name{label="value"}`` -> value."""
    return {
        sample.name
        + (
            "{" + ",".join(f'{k}="{v}"' for k, v in sorted(sample.labels.items())) + "}" if sample.labels else ""
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def read(exposition: Exposition) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{exposition.port}/metrics") as answer:
        return samples(answer.read().decode())


def test_counters_and_looked_up_facts_are_shown_together() -> None:
    exposition = Exposition("127.0.0.1", 0)
    try:
        exposition.add(_Two())
        before = read(exposition)
        metrics.PROBLEMS.labels("overloaded", "503").inc()
        after = read(exposition)
    finally:
        exposition.close()
    name = 'chetko_problems_total{code="overloaded",status="503"}'
    assert after[name] - before.get(name, 0) == 1
    assert after["chetko_two"] == 2
    assert after["process_resident_memory_bytes"] > 1e6


def test_a_port_that_is_taken_is_an_os_error() -> None:
    exposition = Exposition("127.0.0.1", 0)
    try:
        with pytest.raises(OSError, match="in use"):
            Exposition("127.0.0.1", exposition.port)
    finally:
        exposition.close()


def test_what_a_killed_child_counted_is_not_lost(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", _FAMILY],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        env={"TMPDIR": str(tmp_path), "PATH": ""},
    )
    assert run.returncode == 0, run.stderr
    text, folder = json.loads(run.stdout)
    shown = samples(text)
    assert shown['chetko_problems_total{code="overloaded",status="503"}'] == 5
    assert shown['chetko_batch_tiles_count{device="cpu"}'] == 1
    assert shown["process_resident_memory_bytes"] > 1e6
    assert not Path(folder).exists()
    assert not list(tmp_path.iterdir())


def test_names_follow_prometheus_customs() -> None:
    families = list(metrics.METRICS.collect())
    assert len(families) >= 8
    for family in families:
        assert family.name.startswith("chetko_")
        assert family.documentation.endswith(".")
        assert len(family.documentation) > 20


def test_numbers_of_a_queue_that_does_not_answer_are_left_out() -> None:
    health = SimpleNamespace(
        queue_reachable=True,
        storage_writable=False,
        workers=2,
        queued=0,
        active=3,
        oldest_seconds=None,
        running=1,
        stored_bytes=70,
    )

    def shown() -> dict[str, float]:
        families = QueueMetrics(lambda: cast("QueueHealth", health)).collect()
        return {sample.name: sample.value for family in families for sample in family.samples}

    assert shown() == {
        "chetko_queue_up": 1,
        "chetko_storage_up": 0,
        "chetko_workers": 2,
        "chetko_jobs_queued": 0,
        "chetko_jobs_active": 3,
        "chetko_jobs_oldest_seconds": 0,
        "chetko_storage_bytes": 70,
        "chetko_tasks_running": 1,
    }
    health.queue_reachable = False
    assert shown() == {"chetko_queue_up": 0, "chetko_storage_up": 0}
