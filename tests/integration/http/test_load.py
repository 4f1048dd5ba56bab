"""Many clients at once, and where the work is done."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from app.imaging import encode
from app.imaging.decode_pool import DecodePool
from app.inference import enlarge as way
from app.inference.backend import load_backend
from app.inference.graph import Graph
from benchmarks.load import measure, tenths
from tests.integration.http.live import Computing, RealServer, live
from tests.integration.http.pictures import png

CLIENTS = 64


def send_at_once(url: str, clients: int, content: bytes) -> list[httpx.Response]:
    barrier = threading.Barrier(clients)

    def one() -> httpx.Response:
        with httpx.Client(timeout=240) as client:
            barrier.wait(60)
            return client.post(url, files={"image": ("a.png", content)})

    with ThreadPoolExecutor(clients) as pool:
        return [each.result() for each in [pool.submit(one) for _ in range(clients)]]


@pytest.mark.timeout(280)
def test_64_clients_at_once_are_all_answered(chetko: RealServer) -> None:
    answers = send_at_once(f"{chetko.url}/v1/upscale?scale=4", CLIENTS, png(256, 256))
    counted = Counter(answer.status_code for answer in answers)
    assert set(counted) <= {200, 503}, counted
    assert counted[200] >= CLIENTS // 4, counted
    bodies = {answer.content for answer in answers if answer.status_code == 200}
    assert len(bodies) == 1, "the same picture gave different results under load"
    for answer in answers:
        if answer.status_code == 503:
            assert int(answer.headers["retry-after"]) >= 1
    ready = httpx.get(f"{chetko.url}/readyz").json()
    assert (ready["requests"], ready["uploads"]) == (0, 0)


def test_more_than_all_places_at_once() -> None:
    computing = Computing()
    with live(computing, max_requests=8, max_uploads=8, max_active_pictures=2) as one:
        answers = send_at_once(f"{one.url}/v1/upscale?scale=2", CLIENTS, png(64, 64))
        counted = Counter(answer.status_code for answer in answers)
        assert set(counted) <= {200, 503}, counted
        assert counted[200] >= 8
        assert computing.most_running <= 2
        one.wait_until(lambda: one.service.admission.requests == 0)


def test_nothing_is_decoded_computed_or_encoded_on_the_loops_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    called: dict[str, set[bool]] = {}

    def note(name: str, function: Any) -> Any:
        def noting(*arguments: Any, **options: Any) -> Any:
            called.setdefault(name, set()).add(asyncio._get_running_loop() is not None)
            return function(*arguments, **options)

        return noting

    for name in ("read_header", "decode"):
        monkeypatch.setattr(DecodePool, name, note(name, getattr(DecodePool, name)))
    for name in ("open_encoder", "run_passes"):
        monkeypatch.setattr(way, name, note(name, getattr(way, name)))
    monkeypatch.setattr(Graph, "run", note("run", Graph.run))
    with live(Computing(), load=load_backend) as one:
        one.wait_until(lambda: one.service.state == "ready", 60)
        called.clear()
        for form in encode.FORMATS:
            files = {"image": ("a.png", png(40, 30))}
            assert httpx.post(f"{one.url}/v1/upscale?scale=4&format={form}", files=files).status_code == 200
    assert called == {name: {False} for name in ("read_header", "decode", "open_encoder", "run_passes", "run")}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_2000_pictures_from_64_clients_leave_the_loop_quick_and_the_memory_flat() -> None:
    load = measure(requests=2000, concurrency=CLIENTS, edges=[256], query="scale=4")
    memory = tenths(load)
    told = f"{load.seconds:.0f} s, {load.statuses}, /livez {load.loaded.p99:.1f} ms at p99, memory {memory} MiB"
    print(told)  # noqa: T201  (shown by pytest -rP: the figures for the closing note)
    assert set(load.statuses) <= {200, 503}
    assert load.statuses[200] >= CLIENTS
    assert load.loaded.p99 < 50
    # The arena and the heap settle early; a leak of 100 KB a picture would add 100 MB from one half to the other.
    assert max(load.memory[5:]) <= 1.2 * max(load.memory[:5]), memory
