"""``make load``, third part: requests per second at the edge: ``/livez``, a 64 x 64 picture, an upload of 1 MB.

The model repeats pixels, so that nothing but reception, answering, decoding and encoding costs time. Clients are
threads of this process, on the same machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from benchmarks.pictures import file_of
from benchmarks.service import running_service
from tests.models import nearest, write_model


def rate(url: str, clients: int, seconds: float, call: Callable[[httpx.Client], None]) -> float:
    """Calls per second that ``clients`` threads get through."""
    done = [0] * clients
    over = threading.Event()

    def work(number: int) -> None:
        with httpx.Client(base_url=url, timeout=60) as client:
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
    return sum(done) / (time.perf_counter() - began)


def measure(*, rounds: int, seconds: float, clients: int) -> dict[str, float]:
    """What is called -> requests per second, the median of the rounds."""
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    picture, megabyte = file_of(Image.fromarray(noise), "png"), os.urandom(1_000_000)

    def livez(client: httpx.Client) -> None:
        client.get("/livez").raise_for_status()

    def upscale(client: httpx.Client) -> None:
        client.post("/v1/upscale?scale=2", files={"image": picture}).raise_for_status()

    def upload(client: httpx.Client) -> None:
        place = client.post("/v1/uploads", json={"name": "a", "bytes": len(megabyte)}).raise_for_status().json()
        client.put(place["put_url"], content=megabyte).raise_for_status()
        client.delete(place["put_url"]).raise_for_status()

    calls = {"/livez": livez, "64 x 64 upscale": upscale, "1 MB upload": upload}
    found: dict[str, list[float]] = {name: [] for name in calls}
    with tempfile.TemporaryDirectory(prefix="chetko-edge-") as folder:
        write_model(Path(folder), "nearest", nearest, default=True)
        with running_service(models_dir=folder, log_level="warning") as running:
            for number in range(rounds + 1):
                for name, call in calls.items():
                    made = rate(running.url, clients, seconds, call)
                    if number:  # the first round warms everything up
                        found[name].append(made)
    return {name: statistics.median(rates) for name, rates in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(rounds=options.rounds, seconds=options.seconds, clients=options.clients)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    print(f"requests per second, {options.clients} clients, median of {options.rounds} rounds")
    for name, made in found.items():
        print(f"{name:<18}{made:8.1f}")


if __name__ == "__main__":
    main()
