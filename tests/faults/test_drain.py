"""SIGTERM while everything is busy: an upload that is under way, an open event stream, a strip that is computed."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import httpx

from tests.faults.pictures import photo_like
from tests.faults.tree import tree, wait_until
from tests.integration.http.live import read_answer
from tests.integration.http.pictures import multipart, png, post_head

DRAIN_SECONDS = 60


def test_everything_is_finished_or_handed_back_within_the_grace_time(place: Path) -> None:
    with tree(place, drain_seconds=str(DRAIN_SECONDS)) as one:
        id = one.submit(photo_like(1600, 1400), "scale=4&format=tiff")
        wait_until(lambda: one.job(id)["state"] == "running", "a running strip", 300)
        events: list[str] = []
        closed = threading.Event()

        def listen() -> None:
            with httpx.stream("GET", f"{one.url}/v1/jobs/{id}/events", timeout=300) as stream:
                events.extend(stream.iter_lines())  # one by one, as they come
            closed.set()

        listening = threading.Thread(target=listen, daemon=True)
        listening.start()
        wait_until(lambda: events, "the first event")
        host, port = one.url.removeprefix("http://").split(":")
        body = multipart(png())
        assert one.process is not None
        with socket.create_connection((host, int(port)), timeout=60) as upload:
            upload.sendall(post_head(len(body), "/v1/upscale?scale=4") + body[:50])
            wait_until(lambda: httpx.get(f"{one.url}/readyz").json()["uploads"] == 1, "the upload's begin")
            one.process.terminate()
            began = time.monotonic()
            assert closed.wait(30), "the event stream holds the process"
            upload.sendall(body[50:])
            head, _ = read_answer(upload)
            assert b" 200 " in head.split(b"\r\n")[0] or b" 503 " in head.split(b"\r\n")[0], head
        assert one.process.wait(DRAIN_SECONDS + 15) == 0
        print(f"everything had ended {time.monotonic() - began:.1f} s after SIGTERM")
        assert one.child("worker") is None
        assert one.child("queue server") is None
        assert "Traceback" not in one.said()
        assert "was killed" not in one.said(), "the worker ended by itself"
        one.start()
        assert one.wait_for(id, "succeeded")["strips"]["done"] >= 3
        assert one.stop() == 0
