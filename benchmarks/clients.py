"""Callers of a running service: as many at once as wanted, each over a connection of its own."""

from __future__ import annotations

import http.client
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from benchmarks.pictures import BOUNDARY

_HEADERS = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


@dataclass(frozen=True)
class Answer:
    """One request's end. ``status`` 0: the connection broke."""

    status: int
    seconds: float
    retry_after: bool
    at: float
    """Monotonic time of the end."""
    parts: dict[str, float] = field(default_factory=dict)
    """Seconds by name, as ``Server-Timing`` tells them."""


class Clients:
    """Clients of one service. Measured from a process of their own (``Apart(Clients, ...)``), since they must not wait
    for the Python lock of whoever measures.
    """

    def __init__(self, url: str, query: str) -> None:
        """``query``: options of every request, as ``scale=4&format=jpeg``."""
        self._place = urlsplit(url).netloc
        self._path = f"/v1/upscale?{query}"

    def ask(self, body: bytes) -> Answer:
        """Sends one picture over a new connection."""
        connection = self._connection()
        answer = self._ask(connection, body)
        connection.close()
        return answer

    def each(self, bodies: Sequence[bytes], clients: int, count: int) -> list[Answer]:
        """``clients`` at once, each sending ``count`` pictures one after another, drawn from ``bodies``."""
        return self._answers(bodies, clients, lambda: iter(range(count)))

    def during(self, bodies: Sequence[bytes], clients: int, seconds: float) -> list[Answer]:
        """``clients`` at once, each sending its next picture when its last one is answered, for ``seconds``."""
        end = time.monotonic() + seconds

        def turns() -> Iterator[int]:
            while time.monotonic() < end:
                yield 0

        return self._answers(bodies, clients, turns)

    def open_loop(self, body: bytes, per_second: float, seconds: float) -> list[Answer]:
        """Pictures come at their own pace, whatever the answers do: as from the world."""
        answers: list[Answer] = []
        began = time.monotonic() + 0.5

        def one(at: float) -> None:
            time.sleep(max(0.0, at - time.monotonic()))
            answers.append(self.ask(body))

        count = int(per_second * seconds)
        _run([threading.Thread(target=one, args=(began + number / per_second,)) for number in range(count)])
        return answers

    def in_turns(
        self,
        bodies: Sequence[bytes],
        clients: int,
        turns: Callable[[], Iterator[int]],
        tell: Callable[[Answer], None],
    ) -> None:
        """``clients`` at once, each sending a picture for each of its turns; ``tell`` gets every answer, in the thread
        of its client, who waits for it.
        """

        def client(seed: int) -> None:
            choose = random.Random(seed)
            connection = self._connection()
            for _ in turns():
                tell(self._ask(connection, choose.choice(bodies)))
            connection.close()

        _run([threading.Thread(target=client, args=(seed,)) for seed in range(clients)])

    def _answers(self, bodies: Sequence[bytes], clients: int, turns: Callable[[], Iterator[int]]) -> list[Answer]:
        answers: list[Answer] = []
        self.in_turns(bodies, clients, turns, answers.append)
        return answers

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self._place, timeout=600)

    def _ask(self, connection: http.client.HTTPConnection, body: bytes) -> Answer:
        began = time.monotonic()
        parts: dict[str, float] = {}
        try:
            connection.request("POST", self._path, body, _HEADERS)
            answer = connection.getresponse()
            answer.read()
            status, retry = answer.status, answer.getheader("Retry-After") is not None
            parts = parts_of(answer.getheader("Server-Timing") or "")
        except (OSError, http.client.HTTPException):
            connection.close()
            status, retry = 0, False
        now = time.monotonic()
        return Answer(status, now - began, retry, now, parts)


def parts_of(server_timing: str) -> dict[str, float]:
    """``Server-Timing`` as seconds by name."""
    return {name: float(ms) / 1000 for name, ms in re.findall(r"([\w-]+);dur=([\d.]+)", server_timing)}


def span(answers: Sequence[Answer]) -> float:
    """Seconds from the first request to the last answer."""
    return max(answer.at for answer in answers) - min(answer.at - answer.seconds for answer in answers)


def quantile(values: Sequence[float], q: float) -> float:
    """The q-quantile, NaN without values."""
    return sorted(values)[min(len(values) - 1, int(q * len(values)))] if values else float("nan")


def _run(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
