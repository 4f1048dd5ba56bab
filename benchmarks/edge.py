"""Requests per second at the edge: ``/livez``, a 64 x 64 picture, an upload of 1 MB; with one and two server processes.

Both services run for the whole measurement, and the rounds alternate: what else the machine does weighs on both.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.pictures import BOUNDARY, body_of, file_of
from benchmarks.service import running_service
from tests.models import nearest, write_model

LEAST = 0.9
"""Of one process's requests per second, with two."""


class Client:
    """One connection that is kept, without a library's own work: what is measured is the service."""

    def __init__(self, url: str) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def call(self, method: str, path: str, body: bytes = b"", media_type: str = "application/json") -> bytes:
        """The body of a good answer; fails on any other."""
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n"
        if body:
            head += f"Content-Type: {media_type}\r\nContent-Length: {len(body)}\r\n"
        self._socket.sendall(head.encode() + b"\r\n" + body)
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._received()
        top, _, found = data.partition(b"\r\n\r\n")
        status = int(top[9:12])
        length = re.search(rb"\r\ncontent-length: (\d+)", top.lower())
        while length and len(found) < int(length[1]):
            found += self._received()
        if not 200 <= status < 300:
            raise RuntimeError(f"{method} {path}: {status} {found[:300]!r}")
        return found

    def _received(self) -> bytes:
        data = self._socket.recv(1 << 18)
        if not data:
            raise RuntimeError("the service closed the connection")
        return data

    def close(self) -> None:
        self._socket.close()


def rate(url: str, clients: int, seconds: float, call: Callable[[Client], None]) -> float:
    """Calls per second that ``clients`` threads get through, each over a connection of its own."""
    done = [0] * clients
    over = threading.Event()

    def work(number: int) -> None:
        with closing(Client(url)) as client:
            while not over.is_set():
                call(client)
                done[number] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    over.set()
    for thread in threads:
        thread.join()
    if not all(done):
        raise RuntimeError("a client failed")
    return sum(done) / (time.perf_counter() - began)


def measure(*, rounds: int, seconds: float, clients: int) -> dict[str, dict[str, float]]:
    """What is called -> median requests per second with one and with two processes, and the median of the ratios."""
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    form, megabyte = body_of(file_of(Image.fromarray(noise), "png")), os.urandom(1_000_000)

    def livez(client: Client) -> None:
        client.call("GET", "/livez")

    def upscale(client: Client) -> None:
        client.call("POST", "/v1/upscale?scale=2", form, f"multipart/form-data; boundary={BOUNDARY}")

    def upload(client: Client) -> None:
        place = json.loads(client.call("POST", "/v1/uploads", json.dumps({"name": "a", "bytes": 1_000_000}).encode()))
        client.call("PUT", place["put_url"], megabyte, "application/octet-stream")
        client.call("DELETE", place["put_url"])

    calls = {"/livez": livez, "64 x 64 upscale": upscale, "1 MB upload": upload}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    with tempfile.TemporaryDirectory(prefix="chetko-edge-") as folder, ExitStack() as running:
        write_model(Path(folder), "nearest", nearest, default=True)
        urls = [
            running.enter_context(running_service(models_dir=folder, processes=str(processes), log_level="warning")).url
            for processes in (1, 2)
        ]
        for number in range(rounds + 1):
            for name, call in calls.items():
                one, two = (rate(url, clients, seconds, call) for url in urls)
                if number:  # the first round warms everything up
                    found[name].append((one, two))
    return {
        name: {
            "one": statistics.median(one for one, _ in pairs),
            "two": statistics.median(two for _, two in pairs),
            "ratio": statistics.median(two / one for one, two in pairs),
        }
        for name, pairs in found.items()
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(rounds=options.rounds, seconds=options.seconds, clients=options.clients)
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        print(f"requests per second, {options.clients} clients, median of {options.rounds} rounds")
        for name, numbers in found.items():
            verdict = "enough" if numbers["ratio"] >= LEAST else f"LESS than {LEAST}"
            print(
                f"{name:<18} one process {numbers['one']:8.1f}   two {numbers['two']:8.1f}   "
                f"{numbers['ratio']:.2f} of one, {verdict}"
            )
    return 0 if all(numbers["ratio"] >= LEAST for numbers in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
