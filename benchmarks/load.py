"""``make load``: latency of the event loop and memory of a running service under load.

Starts a service, asks ``/livez`` while nothing happens, then again while many clients upload pictures, and looks at the
service's memory on the way. Prober and clients are processes of their own, so that they wait for the service and not
for each other; with few cores they still compete with it for the processor, which counts against the figures.
"""

from __future__ import annotations

import argparse
import collections
import http.client
import multiprocessing
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from urllib.parse import urlsplit

import psutil

from benchmarks.clients import Answer, Clients
from benchmarks.pictures import body_of, file_of, photo
from benchmarks.service import running_service

PROBE_PAUSE_SECONDS = 0.005


@dataclass(frozen=True)
class Latency:
    """Of ``/livez``, in milliseconds."""

    median: float
    p99: float
    longest: float
    count: int


def probe(url: str, begun: Event, stop: Event, answers: multiprocessing.Queue[list[float]]) -> None:
    """Asks ``/livez`` over one connection until told to stop; puts the milliseconds of every answer but the first."""
    # A prober that itself waits for the processor would measure that.
    os.nice(-5) if os.geteuid() == 0 else None
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    took = []
    while not stop.is_set():
        began = time.perf_counter()
        connection.request("GET", "/livez")
        connection.getresponse().read()
        if begun.is_set():
            took.append((time.perf_counter() - began) * 1000)
        begun.set()  # the first answer includes making the connection
        time.sleep(PROBE_PAUSE_SECONDS)
    answers.put(took)


def upload(  # noqa: PLR0917 - called as a process, with its arguments in a tuple
    url: str, query: str, bodies: list[bytes], requests: int, concurrency: int, statuses: multiprocessing.Queue[int]
) -> None:
    """Sends ``requests`` pictures over ``concurrency`` connections; puts every status (0: the connection broke)."""
    left = iter(range(requests))

    def turns() -> Iterator[int]:
        while next(left, None) is not None:  # one step of Python's: no two clients get the same turn
            yield 0

    def tell(answer: Answer) -> None:
        statuses.put(answer.status)
        if answer.status == 503:
            time.sleep(1)  # less than Retry-After: impatient clients are the harder load

    Clients(url, query).in_turns(bodies, concurrency, turns, tell)


class Prober:
    """Measures ``/livez`` for as long as the ``with`` lasts; then ``latency`` is there."""

    latency: Latency

    def __init__(self, url: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._begun = context.Event()
        self._stop = context.Event()
        self._answers: multiprocessing.Queue[list[float]] = context.Queue()
        self._process = context.Process(target=probe, args=(url, self._begun, self._stop, self._answers), daemon=True)

    def __enter__(self) -> Prober:
        self._process.start()
        # A busy machine may need longer to start a process than the idle service is watched.
        if not self._begun.wait(60):
            raise RuntimeError("/livez was not answered within a minute")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        took = self._answers.get(timeout=60)
        self._process.join(10)
        self.latency = Latency(
            statistics.median(took),
            statistics.quantiles(took, n=100)[98] if len(took) > 1 else took[0],
            max(took),
            len(took),
        )


@dataclass(frozen=True)
class Load:
    """What a service did with many pictures at once."""

    idle: Latency
    loaded: Latency
    seconds: float
    statuses: dict[int, int]
    """How many answers had which status; 0 is a connection that broke."""
    memory: list[int]
    """The service's resident bytes after each tenth of the pictures."""


def measure(*, requests: int, concurrency: int, edges: Sequence[int], query: str) -> Load:
    """Sends ``requests`` squares, their edges drawn from ``edges``, from ``concurrency`` clients to its own service."""
    context = multiprocessing.get_context("spawn")
    with running_service() as running:
        url, service = running.url, psutil.Process(running.pid)
        with Prober(url) as idle:
            time.sleep(3)
        statuses: multiprocessing.Queue[int] = context.Queue()
        bodies = [body_of(file_of(photo(edge, edge), "png")) for edge in edges]
        arguments = (url, query, bodies, requests, concurrency, statuses)
        clients = context.Process(target=upload, args=arguments, daemon=True)
        counted: collections.Counter[int] = collections.Counter()
        marks = {requests * tenth // 10 for tenth in range(1, 11)}
        memory = []
        began = time.monotonic()
        with Prober(url) as loaded:
            clients.start()
            for done in range(1, requests + 1):
                counted[statuses.get(timeout=300)] += 1
                if done in marks:
                    memory.append(service.memory_info().rss)
        seconds = time.monotonic() - began
        return Load(idle.latency, loaded.latency, seconds, dict(sorted(counted.items())), memory)


def main() -> int:
    """0 unless memory grew by more than what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2000, help="pictures sent (%(default)s)")
    parser.add_argument("--concurrency", type=int, default=64, help="clients at once (%(default)s)")
    parser.add_argument(
        "--edges", type=int, nargs="+", default=[256], help="widths and heights that are drawn from (%(default)s)"
    )
    parser.add_argument("--query", default="scale=4", help="options of every request (%(default)s)")
    parser.add_argument(
        "--most-growth",
        type=float,
        metavar="PERCENT",
        help="exit code 1 if memory after all pictures is more than this above that after the first tenth",
    )
    options = parser.parse_args()

    asked = vars(options)
    most = asked.pop("most_growth")
    load = measure(**asked)
    print(f"{'':24}{'p50':>9}{'p99':>9}{'longest':>9}   answers")
    _tell("/livez idle, ms", load.idle)
    _tell("/livez under load, ms", load.loaded)
    print()
    edges = ", ".join(map(str, options.edges))
    print(f"{options.requests} squares of {edges} px, {options.concurrency} clients: ", end="")
    print(f"{load.seconds:.0f} s, {load.statuses.get(200, 0) / load.seconds:.1f} results/s")
    print("statuses: " + ", ".join(f"{status}: {count}" for status, count in load.statuses.items()))
    print(f"memory:   {tenths(load)} MiB, after each tenth of the pictures: ", end="")
    grown = load.memory[-1] / load.memory[0] - 1
    print(f"the last is {grown:+.1%} of the first")
    if most is not None and (grown > most / 100 or set(load.statuses) != {200}):
        print(f"did not hold: at most {most:g} % more and nothing but 200 was asked for")
        return 1
    return 0


def tenths(load: Load) -> str:
    """The service's memory in MiB, in a line."""
    return " ".join(f"{size / 2**20:.0f}" for size in load.memory)


def _tell(name: str, latency: Latency) -> None:
    print(f"{name:24}{latency.median:9.2f}{latency.p99:9.2f}{latency.longest:9.2f}   {latency.count}")


if __name__ == "__main__":
    raise SystemExit(main())
