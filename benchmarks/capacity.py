"""``make load``, second part: how much a service takes, and what four times as much does to it.

Clients are threads of a process of their own on this machine, so they compete with the service for its processors; what
they take counts against the figures. Everything goes over loopback, to a service that this command starts and ends.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter

from benchmarks.apart import Apart
from benchmarks.clients import Answer, Clients, quantile, span
from benchmarks.pictures import body_of, file_of, photo
from benchmarks.service import running_service

CLIENTS = (1, 2, 4, 8, 16, 32, 64)
OVERLOAD = 4
QUERY = "scale=4&format=jpeg"
PLACES = 64
"""CHETKO_MAX_REQUESTS of the service: so many are taken in at once."""
RECOVERY_SECONDS = 5.0
KEPT = 1.5
"""Times the latency with all places taken that an accepted request may have under overload."""


def body(edge: int) -> bytes:
    """What sends a picture of ``edge`` x ``edge``."""
    return body_of(file_of(photo(edge, edge), "png"))


def apart(url: str, loop: str, *arguments: object) -> list[Answer]:
    """One of the loops of ``Clients``, in a process of its own."""
    with Apart(Clients, url, QUERY) as clients:
        answers: list[Answer] = clients(loop, *arguments)
    return answers


def curve(url: str, edge: int, seconds: float) -> tuple[float, float]:
    """Prints a row per number of clients. Gives the capacity in results/s, and p95 with 64 clients in seconds."""
    print(f"{'clients':>8}{'results/s':>11}{'output MP/s':>13}{'p50 s':>9}{'p95 s':>9}   statuses")
    best, tail = 0.0, 0.0
    for clients in CLIENTS:
        answers = apart(url, "during", [body(edge)], clients, seconds)
        good = [answer.seconds for answer in answers if answer.status == 200]
        # Until the last answer: with many clients those that were in at the end take long.
        rate = len(good) / span(answers)
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
    answers = apart(url, "open_loop", body(edge), OVERLOAD * capacity, seconds)
    ended = time.monotonic()
    good = [answer.seconds for answer in answers if answer.status == 200]
    busy = [answer for answer in answers if answer.status == 503]
    others = len(answers) - len(good) - len(busy)
    clients = Clients(url, QUERY)
    while clients.ask(body(edge)).status != 200:
        time.sleep(0.05)
    recovery = time.monotonic() - ended
    told = sum(answer.retry_after for answer in busy)
    print(f"overload: {OVERLOAD * capacity:.1f} pictures/s for {seconds:.0f} s: {len(good)} answered, ", end="")
    print(f"{len(busy)} refused ({told} with Retry-After), {others} otherwise")
    print(f"  accepted: p95 {quantile(good, 0.95):.2f} s (with 64 clients: {full:.2f} s); ", end="")
    refused = quantile([answer.seconds for answer in busy], 0.95)
    print(f"refused: p95 {refused:.3f} s; a picture again after {recovery:.2f} s")
    kept = quantile(good, 0.95) <= KEPT * full  # False where nothing was answered: NaN
    return kept and bool(busy) and told == len(busy) and others == 0 and recovery <= RECOVERY_SECONDS


def main() -> int:
    """Both after each other on one service; 1 if the overload did not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edge", type=int, default=128, help="width and height of a picture (%(default)s)")
    parser.add_argument("--seconds", type=float, default=10, help="for each row and for the overload (%(default)s)")
    options = parser.parse_args()
    with running_service() as running:
        capacity, full = curve(running.url, options.edge, options.seconds)
        held = overload(running.url, options.edge, capacity, full, options.seconds)
    print("held" if held else "did not hold")
    return 0 if held else 1


if __name__ == "__main__":
    raise SystemExit(main())
