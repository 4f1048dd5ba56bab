"""One trace from the upload to the result, collected from every process that worked on it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.integration.http.live import real_server
from tests.integration.http.pictures import png

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = f"00-{TRACE}-b7ad6b7169203331-01"


@contextmanager
def collector() -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """Where OpenTelemetry's own exporter sends to, and what came: (service name, span)."""
    came: list[tuple[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
            for resource in sent.resource_spans:
                names = [each.value.string_value for each in resource.resource.attributes if each.key == "service.name"]
                came.extend((names[0], span) for scope in resource.scope_spans for span in scope.spans)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its own name for it
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/traces", came
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_upload_tasks_and_result_are_one_trace_across_processes() -> None:
    with collector() as (url, came), real_server(worker=True, CHETKO_TRACES_URL=url) as server:
        # More than 16 megapixels of result: too many for `prepare` to do alone, so there are strips.
        accepted = httpx.post(
            f"{server.url}/v1/upscale?scale=4&model=bicubic&format=jpeg",
            files={"image": ("a.png", png(1050, 1000))},
            headers={"traceparent": CALLER},
            timeout=60,
        )
        assert accepted.status_code == 202
        job = server.url + accepted.headers["location"]
        deadline = time.monotonic() + 120
        while httpx.get(job).json()["state"] != "succeeded":
            assert time.monotonic() < deadline, "the job did not end"
            time.sleep(0.2)
        assert httpx.get(f"{job}/result", headers={"traceparent": CALLER}, timeout=60).status_code == 200
        assert server.stop() == 0  # what was not sent yet is sent now
    ours = [(service, span) for service, span in came if span.trace_id.hex() == TRACE]
    names = {(service, span.name) for service, span in ours}
    assert names >= {
        ("chetko-api", "POST request"),
        ("chetko-api", "GET request"),
        ("chetko-worker", "prepare"),
        ("chetko-worker", "strip"),
        ("chetko-worker", "assemble"),
    }, names
    (upload,) = (span for _, span in ours if span.name == "POST request")
    assert upload.parent_span_id.hex() == CALLER.split("-")[2]
    below = [span for _, span in ours if span.name in {"prepare", "strip", "assemble"}]
    assert {span.parent_span_id for span in below} == {upload.span_id}
