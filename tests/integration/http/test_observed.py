"""What an operator sees of a running service: metrics on their own port, and log lines for a collector."""

from __future__ import annotations

import json
import re
import signal
import socket
import threading
import time

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.telemetry.metrics import REQUESTS
from tests.integration.http.live import Computing, live, real_server, start_serve
from tests.integration.http.pictures import png


def read(address: str) -> dict[tuple[str, frozenset[str]], float]:
    """(name, label values) -> value."""
    return {
        (sample.name, frozenset(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(httpx.get(address).text)
        for sample in family.samples
    }


def test_the_numbers_of_one_picture_and_two_refusals() -> None:
    with real_server(CHETKO_METRICS_PORT="0") as server:
        address = metrics_address(server.process.pid, server.url)
        before = read(address)
        files = {"image": ("a.png", png(40, 30))}
        assert httpx.post(f"{server.url}/v1/upscale?scale=4", files=files).status_code == 200
        assert httpx.head(f"{server.url}/v1/models").status_code == 200
        assert httpx.get(f"{server.url}/no/such/{'x' * 50}").status_code == 404
        assert httpx.post(f"{server.url}/v1/upscale?scael=4", files=files).status_code == 422
        after = read(address)

    def grown(name: str, *labels: str) -> float:
        key = (name, frozenset(labels))
        return after.get(key, 0) - before.get(key, 0)

    assert grown("chetko_http_requests_total", "POST", "/v1/upscale", "200") == 1
    assert grown("chetko_http_requests_total", "HEAD", "/v1/models", "200") == 1
    assert grown("chetko_http_requests_total", "GET", "other", "404") == 1
    assert grown("chetko_problems_total", "not_found", "404") == 1
    assert grown("chetko_problems_total", "unknown_option", "422") == 1
    assert grown("chetko_http_request_seconds_count", "/v1/upscale") == 2
    assert grown("chetko_output_megapixels_total", "fast", "4", "sync") == pytest.approx(160 * 120 / 1e6)
    assert grown("chetko_tile_seconds_count", "cpu") == 1
    assert grown("chetko_device_busy_seconds_total", "cpu") > 0
    assert grown("chetko_picture_seconds_count", "decode") == 1
    assert after["chetko_ready", frozenset()] == 1
    assert after["chetko_requests_in_limit", frozenset()] == 64
    assert after["chetko_tiles_waiting", frozenset()] == 0
    assert not any("x" * 50 in label for _, labels in after for label in labels)


def metrics_address(pid: int, url: str) -> str:
    """The listening port of the process that is not the service's own."""
    own = int(url.rsplit(":", 1)[1])
    listening = [each.laddr.port for each in psutil.Process(pid).net_connections() if each.status == "LISTEN"]
    (port,) = (port for port in listening if port != own)
    return f"http://127.0.0.1:{port}/metrics"


def test_a_taken_metrics_port_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = start_serve(CHETKO_METRICS_PORT=str(port))
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert output.splitlines()[-1] == (
        f"chetko: Something else listens on port {port} of 127.0.0.1: "
        "stop it, or set CHETKO_METRICS_PORT to another port."
    )


def test_every_line_is_json_where_a_machine_collects_them() -> None:
    process = start_serve(CHETKO_LOG_FORMAT="json")
    assert process.stdout is not None
    lines = []
    try:
        for text in process.stdout:
            lines.append(json.loads(text))
            ready = re.fullmatch(r"Chetko is ready: (http://\S+)", lines[-1]["message"])
            if ready:
                break
        answer = httpx.get(f"{ready[1]}/v1/models", headers={"X-Request-Id": "mine"})
        assert answer.status_code == 200
    finally:
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=30)
    lines += [json.loads(text) for text in rest.splitlines()]
    (line,) = (line for line in lines if line.get("request_id") == "mine")
    assert (line["method"], line["route"], line["status"]) == ("GET", "/v1/models", 200)


def test_a_client_that_goes_away_is_counted_as_aborted() -> None:
    counter = REQUESTS.labels("POST", "/v1/upscale", "499")
    before = counter._value.get()
    computing = Computing(hold=threading.Event())
    with live(computing) as one:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{one.url}/v1/upscale?scale=2", files={"image": ("a.png", png())}, timeout=0.5)
        one.wait_until(lambda: counter._value.get() > before)


def test_the_numbers_of_a_job_are_shown_by_the_process_that_serves() -> None:
    with real_server(worker=True, CHETKO_METRICS_PORT="0") as server:
        address = metrics_address(server.process.pid, server.url)
        files = {"image": ("a.png", png(40, 30))}
        accepted = httpx.post(f"{server.url}/v1/upscale?scale=4", files=files, headers={"Prefer": "respond-async"})
        assert accepted.status_code == 202
        deadline = time.monotonic() + 60
        while httpx.get(f"{server.url}{accepted.headers['location']}").json()["state"] != "succeeded":
            assert time.monotonic() < deadline, "the job did not end"
            time.sleep(0.1)
        shown = read(address)
    assert shown["chetko_tasks_total", frozenset(("prepare", "done"))] == 1
    assert shown["chetko_cache_requests_total", frozenset(("miss",))] == 1
    assert shown["chetko_output_megapixels_total", frozenset(("fast", "4", "job"))] == pytest.approx(160 * 120 / 1e6)
    assert shown["chetko_queue_up", frozenset()] == 1
    assert shown["chetko_storage_up", frozenset()] == 1
    assert shown["chetko_workers", frozenset()] == 1
    assert shown["chetko_jobs_active", frozenset()] == 0
