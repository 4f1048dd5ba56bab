"""Bounds on what is taken in, and places that come free again."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx

from app.api.service import Service
from app.api.service_metrics import ServiceMetrics
from app.inference.errors import DeviceLostError
from tests.integration.http.live import Computing, live, problem, read_answer
from tests.integration.http.pictures import multipart, png, post_head

FILES = {"image": ("photo.png", png())}


def test_more_requests_than_places_are_refused_without_their_body() -> None:
    computing = Computing(hold=threading.Event())
    with live(computing, max_requests=3, max_active_pictures=1) as one, ThreadPoolExecutor(3) as clients:
        held = [clients.submit(httpx.post, f"{one.url}/v1/upscale?scale=2", files=FILES, timeout=20) for _ in range(3)]
        one.wait_until(lambda: one.service.admission.requests == 3 and one.service.admission.uploads == 0)
        with socket.create_connection((one.host, one.port), timeout=5) as connection:
            connection.sendall(post_head(40_000_000))
            head, body = read_answer(connection)
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nretry-after: " in head.lower()
        assert b'"code":"overloaded"' in body

        refused = httpx.post(f"{one.url}/v1/upscale?scale=2", files=FILES, timeout=20)
        assert "3 pictures" in problem(refused, 503, "overloaded")["detail"]
        assert 1 <= int(refused.headers["retry-after"]) <= 120

        ready = httpx.get(f"{one.url}/readyz")
        assert (ready.status_code, ready.json()["requests"]) == (200, 3), "load must not turn the probe red"
        assert httpx.get(f"{one.url}/livez").status_code == 200

        assert computing.hold is not None
        computing.hold.set()
        assert [each.result().status_code for each in held] == [200, 200, 200]
        assert computing.most_running == 1, "more pictures were worked on at once than allowed"
        assert httpx.post(f"{one.url}/v1/upscale?scale=2", files=FILES).status_code == 200
        one.wait_until(lambda: one.service.admission.requests == 0)


def test_uploads_in_flight_are_bounded() -> None:
    with live(Computing(), max_uploads=1) as one:
        body = multipart(png())
        with socket.create_connection((one.host, one.port), timeout=5) as slow:
            slow.sendall(post_head(len(body)) + body[:20])
            one.wait_until(lambda: one.service.admission.uploads == 1)
            refused = httpx.post(f"{one.url}/v1/upscale?scale=2", files=FILES)
            assert "uploads" in problem(refused, 503, "overloaded")["detail"]
            slow.sendall(body[20:])
            assert read_answer(slow)[0].startswith(b"HTTP/1.1 200 ")
        assert httpx.post(f"{one.url}/v1/upscale?scale=2", files=FILES).status_code == 200


def test_a_client_that_goes_away_while_computing_stops_the_work() -> None:
    computing = Computing(hold=threading.Event())
    with live(computing, max_active_pictures=1) as one:
        body = multipart(png())
        with socket.create_connection((one.host, one.port), timeout=5) as connection:
            connection.sendall(post_head(len(body)) + body)
            one.wait_until(lambda: computing.running == 1)
        one.wait_until(lambda: one.service.admission.requests == 0 and computing.running == 0)
        assert (computing.cancelled, computing.finished) == (1, 0)


def test_a_client_that_goes_away_while_waiting_leaves_the_queue() -> None:
    computing = Computing(hold=threading.Event())
    with live(computing, max_active_pictures=1) as one, ThreadPoolExecutor(1) as clients:
        first = clients.submit(httpx.post, f"{one.url}/v1/upscale?scale=2", files=FILES, timeout=20)
        one.wait_until(lambda: computing.running == 1)
        body = multipart(png())
        with socket.create_connection((one.host, one.port), timeout=5) as connection:
            connection.sendall(post_head(len(body)) + body)
            one.wait_until(lambda: one.service.admission.requests == 2 and one.service.admission.uploads == 0)
        one.wait_until(lambda: one.service.admission.requests == 1)
        assert computing.cancelled == 0, "the picture that is still wanted was stopped"
        assert computing.hold is not None
        computing.hold.set()
        assert first.result().status_code == 200
        assert computing.finished == 1, "a picture that nobody wants was computed"


def test_a_client_that_goes_away_while_receiving_frees_its_place() -> None:
    computing = Computing(result=bytes(50_000_000))
    with live(computing) as one:
        body = multipart(png())
        with socket.create_connection((one.host, one.port), timeout=5) as connection:
            connection.sendall(post_head(len(body)) + body)
            connection.recv(1000)
            assert one.service.admission.requests == 1
        one.wait_until(lambda: one.service.admission.requests == 0)


def test_a_client_that_takes_nothing_loses_its_connection() -> None:
    computing = Computing(result=bytes(50_000_000))
    with live(computing, send_idle_seconds=0.3) as one:
        body = multipart(png())
        with socket.create_connection((one.host, one.port), timeout=5) as connection:
            connection.sendall(post_head(len(body)) + body)
            connection.recv(1000)
            one.wait_until(lambda: one.service.admission.requests == 0)


def test_before_the_models_are_warm_only_the_probes_are_content() -> None:
    release = threading.Event()

    def slow_load(_: object) -> object:
        release.wait(20)
        raise RuntimeError("never mind")

    with live(Computing(), load=slow_load) as one:  # type: ignore[arg-type]
        assert httpx.get(f"{one.url}/livez").status_code == 200
        not_ready = httpx.get(f"{one.url}/readyz")
        problem(not_ready, 503, "not_ready")
        assert int(not_ready.headers["retry-after"]) >= 1
        with socket.create_connection((one.host, one.port), timeout=5) as connection:
            connection.sendall(post_head(40_000_000))
            head, body = read_answer(connection)
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b'"code":"not_ready"' in body
        problem(httpx.get(f"{one.url}/v1/models"), 503, "not_ready")
        assert httpx.get(one.url).status_code == 200, "the page can be open before the models are"
        release.set()
        one.wait_until(lambda: one.service.state == "failed")
        problem(httpx.get(f"{one.url}/readyz"), 503, "not_ready")


def test_an_upload_that_began_before_the_stop_is_still_enlarged() -> None:
    with live(Computing()) as one:
        body = multipart(png())
        with socket.create_connection((one.host, one.port), timeout=5) as connection:
            connection.sendall(post_head(len(body)) + body[:20])
            one.wait_until(lambda: one.service.admission.uploads == 1)
            one.service.drain()
            connection.sendall(body[20:])
            assert read_answer(connection)[0].startswith(b"HTTP/1.1 200 ")


def test_stopping_refuses_new_pictures_and_finishes_those_it_has() -> None:
    computing = Computing(hold=threading.Event())
    with live(computing) as one, ThreadPoolExecutor(1) as clients, httpx.Client(base_url=one.url) as kept:
        first = clients.submit(httpx.post, f"{one.url}/v1/upscale?scale=2", files=FILES, timeout=20)
        one.wait_until(lambda: computing.running == 1)
        one.service.drain()
        problem(kept.get("/readyz"), 503, "draining")
        assert kept.get("/livez").status_code == 200
        problem(kept.post("/v1/upscale?scale=2", files=FILES), 503, "draining")
        one.server.should_exit = True
        assert computing.hold is not None
        computing.hold.set()
        assert first.result().status_code == 200


def test_a_lost_device_turns_this_process_unready() -> None:
    computing = Computing(fail=DeviceLostError("The GPU no longer answers: this process must be started anew."))
    with live(computing) as one:
        files = {"image": ("a.png", png())}
        assert httpx.get(f"{one.url}/readyz").status_code == 200
        assert shown_ready(one.service) == 1
        problem(httpx.post(f"{one.url}/v1/upscale?scale=2", files=files), 503, "device_lost")
        assert shown_ready(one.service) == 0, "the alert ChetkoNotReady looks at this"
        computing.fail = None
        for answer in (httpx.get(f"{one.url}/readyz"), httpx.post(f"{one.url}/v1/upscale?scale=2", files=files)):
            assert problem(answer, 503, "device_lost")
            assert answer.headers["retry-after"] == "10"
        assert httpx.get(f"{one.url}/livez").status_code == 200
        assert httpx.get(f"{one.url}/v1").status_code == 200


def shown_ready(service: Service) -> float:
    """What Prometheus is told."""
    (ready,) = (family for family in ServiceMetrics(service).collect() if family.name == "chetko_ready")
    return ready.samples[0].value
