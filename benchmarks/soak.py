"""``make load``, third part: mixed pictures and jobs for a while. Memory must stay flat, and no file or key be left.

Four clients send pictures of mixed sizes that are answered at once; one sends jobs, small ones and some with strips,
fetches each result and deletes the job. ``--minutes 30`` is the soak of docs/capacity.md.
"""

from __future__ import annotations

import argparse
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle

import httpx
import psutil
import redis

from app.jobs import keys
from app.jobs.data_folder import note_in
from benchmarks.apart import Apart
from benchmarks.clients import Answer, Clients
from benchmarks.pictures import body_of, file_of, photo
from benchmarks.service import Running, running_service, running_workers

QUERY = "scale=4&format=jpeg"
EDGES = (32, 64, 100, 128, 200, 256, 320)
CLIENTS = 4
JOB_EDGES = (200, 1100, 400)
"""1100 x 1100 becomes 19 megapixels: more than one task may do, so there are strips."""
JOB_SECONDS = 600
CLEAN_SECONDS = 60
"""How long what was deleted may take to go: the janitor does it."""
MOST_GROWTH = 0.1
MOST_GROWTH_MIB = 16.0
"""What a process may grow from the end of the first third to the end: the larger of the two."""
MORE_DESCRIPTORS = 8


@dataclass
class Caller:
    """Jobs, one after another, as an integrator has them."""

    url: str
    over: threading.Event
    done: int = 0
    wrong: list[str] = field(default_factory=list)
    _pictures: Iterator[bytes] = field(
        default_factory=lambda: cycle([file_of(photo(edge, edge), "png") for edge in JOB_EDGES])
    )

    def run(self) -> None:
        """Until ``over``, or until something is wrong."""
        while not self.over.is_set() and not self.wrong:
            self.send(1)

    def send(self, count: int) -> None:
        """So many, unless something goes wrong."""
        with httpx.Client(base_url=self.url, timeout=120) as client:
            for _ in range(count):
                try:
                    self._one(client, next(self._pictures))
                except httpx.HTTPError as error:
                    self.wrong.append(repr(error))
                    return

    def _one(self, client: httpx.Client, picture: bytes) -> None:
        headers = {"Prefer": "respond-async", "Cache-Control": "no-cache"}
        accepted = client.post(f"/v1/upscale?{QUERY}", files={"image": ("soak.png", picture)}, headers=headers)
        accepted.raise_for_status()
        job = accepted.headers["location"]
        deadline = time.monotonic() + JOB_SECONDS
        while (state := client.get(job).raise_for_status().json()["state"]) != "succeeded":
            if state in {"failed", "cancelled", "expired"} or time.monotonic() > deadline:
                self.wrong.append(f"{job} is {state}")
                return
            time.sleep(0.2)
        client.get(f"{job}/result").raise_for_status()
        client.delete(job).raise_for_status()
        self.done += 1


def leftovers(running: Running) -> tuple[list[str], list[str]]:
    """Files in storage, and keys of jobs that are more than the record of an ended one (which goes after a day)."""
    files = [str(path) for path in (running.data / "objects").rglob("*") if path.is_file()]
    note = note_in(running.data)
    if note is None or note.queue_url is None:
        raise RuntimeError("the service names no queue")
    with redis.Redis.from_url(note.queue_url, decode_responses=True) as queue:
        named = [key for key in queue.scan_iter(count=1000) if "job_" in key or "in-progress" in key]
        over = {"expired", "cancelled"}
        return files, [key for key in named if not (key.startswith(keys.JOB) and str(queue.hget(key, "state")) in over)]


def flat(name: str, memory: Sequence[tuple[float, float]]) -> bool:
    """Prints a process's slope over the last two thirds ((minutes, MiB) each); true if it hardly grew."""
    late = memory[len(memory) // 3 :]
    slope = statistics.linear_regression(*zip(*late, strict=True)).slope
    grown = slope * (late[-1][0] - late[0][0])
    held = grown <= max(MOST_GROWTH_MIB, MOST_GROWTH * late[0][1])
    print(f"  {name}: {late[0][1]:.0f} to {late[-1][1]:.0f} MiB, slope {slope:+.2f} MiB a minute", end="")
    print("" if held else ": it GROWS")
    return held


def soak(running: Running, worker: int, minutes: float) -> bool:
    """Sends, watches, waits for what was deleted to go, and prints; true if everything held."""
    processes = {"API": psutil.Process(running.pid), "worker": psutil.Process(worker)}
    memory: dict[str, list[tuple[float, float]]] = {name: [] for name in processes}
    descriptors = {name: process.num_fds() for name, process in processes.items()}
    over = threading.Event()
    caller = Caller(running.url, over)
    bodies = [body_of(file_of(photo(edge, edge), "png")) for edge in EDGES]
    with Apart(Clients, running.url, QUERY) as clients:  # arenas and caches take what they need before it counts
        clients("each", bodies, CLIENTS, len(bodies))
    caller.send(len(JOB_EDGES))
    caller.done = 0

    def watch() -> None:
        while not over.wait(max(0.5, minutes * 0.6)):
            for name, process in processes.items():
                memory[name].append((time.monotonic() / 60, process.memory_info().rss / 2**20))

    threads = [threading.Thread(target=watch), threading.Thread(target=caller.run)]
    for thread in threads:
        thread.start()
    try:
        with Apart(Clients, running.url, QUERY) as clients:
            answers: list[Answer] = clients("during", bodies, CLIENTS, minutes * 60)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    deadline = time.monotonic() + CLEAN_SECONDS
    while any(left := leftovers(running)) and time.monotonic() < deadline:
        time.sleep(0.5)
    more = {name: process.num_fds() - descriptors[name] for name, process in processes.items()}
    statuses = dict(sorted(Counter(answer.status for answer in answers).items()))
    print(f"soak: {minutes:g} minutes, {len(answers)} pictures {statuses}, {caller.done} jobs {caller.wrong or ''}")
    steady = [flat(name, seen) for name, seen in memory.items()]
    print(f"  left: {len(left[0])} files, {len(left[1])} keys {left[1][:3] or ''}; ", end="")
    print("open files more than before: " + ", ".join(f"{name} {count:+d}" for name, count in more.items()))
    clean = not any(left) and max(more.values()) <= MORE_DESCRIPTORS
    return set(statuses) == {200} and caller.done > 0 and not caller.wrong and all(steady) and clean


def main() -> int:
    """1 if something grew, was left or was answered otherwise than with 200."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1, help="how long (%(default)s)")
    options = parser.parse_args()
    with running_service() as running, running_workers(running, 1) as workers:
        held = soak(running, workers.pids[0], options.minutes)
    print("held" if held else "did not hold")
    return 0 if held else 1


if __name__ == "__main__":
    raise SystemExit(main())
