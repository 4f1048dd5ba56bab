"""``make load``, second part: how much a service takes, what four times as much does to it, and whether it stays flat.

Clients are threads of a process of their own on this machine, so they compete with the service for its processors; what
they take counts against the figures. Everything goes over loopback, to a service that this command starts and ends.
"""

from __future__ import annotations

import argparse
import http.client
import multiprocessing
import random
import statistics
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from benchmarks.load import BOUNDARY, picture
from benchmarks.service import running_service

CLIENTS = (1, 2, 4, 8, 16, 32, 64)
OVERLOAD = 4
PLACES = 64
"""CHETKO_MAX_REQUESTS of the service: so many are taken in at once."""
RECOVERY_SECONDS = 5.0
SOAK_EDGES = (32, 64, 100, 128, 200, 256, 320)


@dataclass(frozen=True)
class Answer:
    """One request's end. ``status`` 0: the connection broke."""

    status: int
    seconds: float
    retry_after: bool
    at: float
    """Monotonic time of the end."""


def body_of(edge: int) -> bytes:
    """A whole multipart body with a picture of ``edge`` x ``edge``."""
    disposition = 'Content-Disposition: form-data; name="image"; filename="load.png"'
    head = f"--{BOUNDARY}\r\n{disposition}\r\n\r\n".encode()
    return head + picture(edge) + f"\r\n--{BOUNDARY}--\r\n".encode()


def ask(connection: http.client.HTTPConnection, body: bytes) -> Answer:
    """Sends one picture and reads the whole answer."""
    began = time.monotonic()
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    try:
        connection.request("POST", "/v1/upscale?scale=4&format=jpeg", body, headers)
        answer = connection.getresponse()
        answer.read()
        status, retry = answer.status, answer.getheader("Retry-After") is not None
    except (OSError, http.client.HTTPException):
        connection.close()
        status, retry = 0, False
    now = time.monotonic()
    return Answer(status, now - began, retry, now)


def closed_loop(url: str, bodies: list[bytes], clients: int, seconds: float) -> list[Answer]:
    """Each client sends its next picture when its last one is answered."""
    answers: list[Answer] = []
    end = time.monotonic() + seconds

    def client(seed: int) -> None:
        choose = random.Random(seed)
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=300)
        while time.monotonic() < end:
            answers.append(ask(connection, choose.choice(bodies)))

    _run([threading.Thread(target=client, args=(seed,)) for seed in range(clients)])
    return answers


def open_loop(url: str, body: bytes, per_second: float, seconds: float) -> list[Answer]:
    """Pictures come at their own pace, whatever the answers do: as from the world."""
    answers: list[Answer] = []

    def one(at: float) -> None:
        time.sleep(max(0.0, at - time.monotonic()))
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=300)
        answers.append(ask(connection, body))
        connection.close()

    began = time.monotonic() + 0.5
    count = int(per_second * seconds)
    _run([threading.Thread(target=one, args=(began + number / per_second,)) for number in range(count)])
    return answers


def _run(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _in_process(answers: multiprocessing.Queue[list[Answer]], what: str, arguments: tuple[object, ...]) -> None:
    answers.put({"closed": closed_loop, "open": open_loop}[what](*arguments))  # type: ignore[operator]


def apart(what: str, *arguments: object) -> list[Answer]:
    """``closed_loop`` or ``open_loop`` in a process of its own: clients must not wait for each other's Python."""
    context = multiprocessing.get_context("spawn")
    answers: multiprocessing.Queue[list[Answer]] = context.Queue()
    process = context.Process(target=_in_process, args=(answers, what, arguments), daemon=True)
    process.start()
    result = answers.get()
    process.join(10)
    return result


def quantile(values: list[float], q: float) -> float:
    """The q-quantile, NaN without values."""
    return sorted(values)[min(len(values) - 1, int(q * len(values)))] if values else float("nan")


def curve(url: str, edge: int, seconds: float) -> tuple[float, float]:
    """Prints a row per number of clients. Gives the capacity in results/s, and p95 with 64 clients in seconds."""
    print(f"{'clients':>8}{'results/s':>11}{'output MP/s':>13}{'p50 s':>9}{'p95 s':>9}   statuses")
    best, tail = 0.0, 0.0
    for clients in CLIENTS:
        answers = apart("closed", url, [body_of(edge)], clients, seconds)
        good = [answer.seconds for answer in answers if answer.status == 200]
        # Until the last answer: with many clients those that were in at the end take long.
        last = max(answer.at for answer in answers)
        first = min(answer.at - answer.seconds for answer in answers)
        rate = len(good) / (last - first)
        best, tail = max(best, rate), quantile(good, 0.95)
        statuses = dict(sorted(Counter(answer.status for answer in answers).items()))
        megapixels = rate * (4 * edge) ** 2 / 1e6
        print(
            f"{clients:8}{rate:11.1f}{megapixels:13.1f}{quantile(good, 0.5):9.3f}{tail:9.3f}   {statuses}", flush=True
        )
    return best, tail


def overload(url: str, edge: int, capacity: float, full: float, seconds: float) -> bool:
    """Sends four times the capacity and prints what became of it; true if it held."""
    seconds = max(seconds, PLACES / capacity)  # less would not fill the places
    answers = apart("open", url, body_of(edge), OVERLOAD * capacity, seconds)
    ended = time.monotonic()
    good = [answer.seconds for answer in answers if answer.status == 200]
    busy = [answer for answer in answers if answer.status == 503]
    others = len(answers) - len(good) - len(busy)
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=300)
    while ask(connection, body_of(edge)).status != 200:
        time.sleep(0.05)
    recovery = time.monotonic() - ended
    told = sum(answer.retry_after for answer in busy)
    print(f"overload: {OVERLOAD * capacity:.1f} pictures/s for {seconds:.0f} s: {len(good)} answered, ", end="")
    print(f"{len(busy)} refused ({told} with Retry-After), {others} otherwise")
    print(f"  accepted: p95 {quantile(good, 0.95):.2f} s (with 64 clients: {full:.2f} s); ", end="")
    refused = quantile([answer.seconds for answer in busy], 0.95)
    print(f"refused: p95 {refused:.3f} s; a picture again after {recovery:.2f} s")
    return bool(good) and bool(busy) and told == len(busy) and others == 0 and recovery <= RECOVERY_SECONDS


def soak(url: str, service: psutil.Process, folder: Path, minutes: float) -> bool:
    """Mixed sizes from four clients; prints memory's slope and what is left on the disk; true if both are flat."""
    memory: list[tuple[float, float]] = []
    files = sum(1 for _ in folder.rglob("*"))
    done = threading.Event()

    def watch() -> None:
        while not done.wait(max(0.5, minutes * 0.6)):
            memory.append((time.monotonic() / 60, service.memory_info().rss / 2**20))

    watching = threading.Thread(target=watch)
    watching.start()
    answers = apart("closed", url, [body_of(edge) for edge in SOAK_EDGES], 4, minutes * 60)
    done.set()
    watching.join()
    half = memory[len(memory) // 3 :]  # the first third warms caches and arenas
    slope = statistics.linear_regression(*zip(*half, strict=True)).slope
    left = sum(1 for _ in folder.rglob("*")) - files
    statuses = dict(sorted(Counter(answer.status for answer in answers).items()))
    grown = slope * (half[-1][0] - half[0][0])
    print(f"soak: {minutes:g} minutes, {len(answers)} pictures {statuses}: ", end="")
    print(f"{half[0][1]:.0f} to {half[-1][1]:.0f} MiB, slope {slope:+.2f} MiB a minute; {left} files more than before")
    return set(statuses) == {200} and grown <= max(16.0, 0.1 * half[0][1]) and left <= 0


def main() -> int:
    """Everything after each other on one service; 1 if overload or soak did not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edge", type=int, default=128, help="width and height of a picture (%(default)s)")
    parser.add_argument("--seconds", type=float, default=10, help="for each row and for the overload (%(default)s)")
    parser.add_argument("--soak-minutes", type=float, default=1, help="0 leaves the soak out (%(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="chetko-capacity-") as name, running_service(data_dir=name) as url:
        service = next(child for child in psutil.Process().children() if "app.cli" in child.cmdline())
        capacity, full = curve(url, options.edge, options.seconds)
        held = overload(url, options.edge, capacity, full, options.seconds)
        if options.soak_minutes:
            held = soak(url, service, Path(name), options.soak_minutes) and held
    print("held" if held else "did not hold")
    return 0 if held else 1


if __name__ == "__main__":
    raise SystemExit(main())
