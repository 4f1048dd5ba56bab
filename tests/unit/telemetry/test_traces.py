"""Traces: one from the upload to the result."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import httpx
import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from app.telemetry import traces
from tests.integration.http.live import Computing, live
from tests.integration.http.pictures import png

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    traces.use(SimpleSpanProcessor(exporter), "test")
    yield exporter
    traces.shutdown()


def test_off_costs_nothing_and_says_nothing() -> None:
    with traces.span("x", model="fast"):
        traces.annotate(scale=4)
        assert traces.carrier() == {}
        assert traces.trace_id() is None


def test_a_carrier_takes_the_trace_to_another_process(spans: InMemorySpanExporter) -> None:
    with traces.span("submit"):
        message = traces.carrier()
        trace = traces.trace_id()

    def work() -> None:
        with traces.span("strip", parent=message, strip=3, model=None):
            traces.annotate(rows=10)

    worker = threading.Thread(target=work)  # has no context of ours, as another process has none
    worker.start()
    worker.join()
    submit, strip = spans.get_finished_spans()
    assert strip.parent is not None
    assert strip.parent.span_id == submit.context.span_id
    assert f"{strip.context.trace_id:032x}" == trace
    assert dict(strip.attributes or {}) == {"chetko.strip": 3, "chetko.rows": 10}
    assert strip.resource.attributes["service.name"] == "chetko-test"


def test_a_failure_marks_its_span(spans: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="no"), traces.span("x"):
        raise ValueError("no")
    (span,) = spans.get_finished_spans()
    assert not span.status.is_ok


def test_a_request_is_one_trace_down_to_the_compute_thread(spans: InMemorySpanExporter) -> None:
    with live(Computing()) as one:
        files = {"image": ("a.png", png())}
        answer = httpx.post(f"{one.url}/v1/upscale?scale=2", files=files, headers={"traceparent": PARENT})
    assert answer.status_code == 200
    found = {span.name: span for span in spans.get_finished_spans()}
    assert set(found) >= {"POST request", "receive", "picture"}
    root = found["POST request"]
    assert f"{root.context.trace_id:032x}" == PARENT.split("-")[1]
    assert root.attributes is not None
    assert root.attributes["chetko.route"] == "/v1/upscale"
    for name in ("receive", "picture"):
        assert found[name].parent is not None
        assert found[name].parent.span_id == root.context.span_id


def test_traces_without_the_extra_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "find_spec", lambda _: None)
    with pytest.raises(traces.TracesUnavailableError, match=r"install chetko\[otel\]"):
        traces.configure("http://127.0.0.1:4318/v1/traces", "api")
