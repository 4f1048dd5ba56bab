"""Sends damaged pictures to a live service: none may make it fail, hang, grow, or leave anything behind.

``make fuzz`` sends 20,000: ``python -m tests.fuzz.campaign --count 20000``. Whatever went wrong is told with the number
that makes the same picture again, and kept in the folder ``--keep``.
"""

from __future__ import annotations

import argparse
import io
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
from PIL import Image

from tests.fuzz.mutations import damaged, seeds
from tests.integration.http.live import real_server
from tests.models import nearest, write_model

CLIENTS = 4
SIZES = 150
"""Sound pictures sent before the first damaged one."""
LIMIT_SECONDS = 60.0
"""For one answer: ``CHETKO_DECODE_SECONDS`` is 20 here, and other pictures wait for the same processors."""
SPARE_BYTES = 64 * 1024 * 1024
"""What memory may grow by. Decoders come and go with their libraries, and each thread has a heap of its own; a leak of
3 KB a picture would pass this in the full run."""


@dataclass
class Outcome:
    """What a campaign found."""

    sent: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    """Status and code -> how often."""
    faults: list[str] = field(default_factory=list)
    slowest: float = 0.0
    slowest_picture: str = ""
    memory_before: int = 0
    memory_after: int = 0
    """Bytes of the service with all its processes, after a tenth and at the end."""
    files_before: int = 0
    files_after: int = 0
    """In the folder for temporary files, and open without a name."""


def campaign(*, seconds: float | None = None, count: int | None = None, first: int = 0, keep: Path | None) -> Outcome:
    """Sends pictures ``first``, ``first + 1``, ... until ``count`` were sent or ``seconds`` have passed."""
    outcome = Outcome()
    pictures = seeds()
    lock = threading.Lock()
    numbers = iter(range(first, first + count) if count is not None else range(first, 2**62))
    began = time.monotonic()

    def over() -> bool:
        return seconds is not None and time.monotonic() - began > seconds

    with tempfile.TemporaryDirectory(prefix="chetko-fuzz-") as folder:
        temporary = Path(folder) / "tmp"
        temporary.mkdir()
        write_model(Path(folder) / "models", "nearest", nearest, default=True)
        environ = {
            "TMPDIR": str(temporary),
            "CHETKO_MODELS_DIR": f"{folder}/models",
            "CHETKO_DATA_DIR": f"{folder}/data",
            "CHETKO_MAX_INPUT_PIXELS": "16000000",
            "CHETKO_DECODE_SECONDS": "20",
            "CHETKO_LOG_LEVEL": "warning",
        }
        with real_server(**environ) as server:
            process = psutil.Process(server.process.pid)

            def measure() -> tuple[int, int]:
                family = [process, *process.children(recursive=True)]
                memory = sum(each.memory_info().rss for each in family if each.is_running())
                named = sum(1 for path in temporary.rglob("*") if path.is_file())
                unnamed = sum(1 for file in process.open_files() if "(deleted)" in file.path)
                return memory, named + unnamed

            _fill(server.url)

            def send() -> None:
                with httpx.Client(base_url=server.url, timeout=LIMIT_SECONDS) as client:
                    while not over():
                        with lock:
                            number = next(numbers, None)
                        if number is None:
                            return
                        what, data = damaged(number, pictures)
                        _one(client, what, data, outcome=outcome, lock=lock, keep=keep)

            with ThreadPoolExecutor(CLIENTS) as threads:
                sending = [threads.submit(send) for _ in range(CLIENTS)]
                enough = None if count is None else count // 10
                while not all(each.done() for each in sending):
                    time.sleep(0.1)
                    part = seconds is not None and time.monotonic() - began > seconds / 3
                    if not outcome.memory_before and (part or (enough is not None and outcome.sent >= enough)):
                        outcome.memory_before, outcome.files_before = measure()
                for each in sending:
                    each.result()
            outcome.memory_after, outcome.files_after = measure()
            if httpx.get(f"{server.url}/readyz").status_code != 200:
                outcome.faults.append("the service is not ready any more")
            for _ in range(100):  # spools are closed in threads
                if measure()[1] == 0:
                    break
                time.sleep(0.1)
            else:
                outcome.faults.append(f"{measure()[1]} temporary files are left")
            if server.stop() != 0:
                outcome.faults.append("the service did not stop well")
        if outcome.memory_before and outcome.memory_after > outcome.memory_before + SPARE_BYTES:
            outcome.faults.append(f"memory grew from {outcome.memory_before >> 20} to {outcome.memory_after >> 20} MiB")
    return outcome


def _fill(url: str) -> None:
    """Sends sound pictures of many sizes: what onnxruntime's arena and the heaps of the threads keep grows with the
    shapes that come through, in steps of up to 40 MiB and to an end (docs/decisions.md). Else the first damaged picture
    of a larger shape would look like a leak.
    """
    chance = random.Random(1)

    def send(_: int) -> None:
        width, height = (int(2 ** chance.uniform(4, 10.5)) for _ in range(2))
        file = io.BytesIO()
        Image.effect_noise((width, height), 100).convert("RGB").save(file, "BMP")
        answer = httpx.post(f"{url}/v1/upscale?scale=2&format=png", files={"image": file.getvalue()}, timeout=60)
        answer.raise_for_status()

    with ThreadPoolExecutor(CLIENTS) as threads:
        list(threads.map(send, range(SIZES)))


def _one(
    client: httpx.Client, what: str, data: bytes, *, outcome: Outcome, lock: threading.Lock, keep: Path | None
) -> None:
    began = time.monotonic()
    fault = None
    try:
        answer = client.post("/v1/upscale?scale=2&format=png", files={"image": ("a", data)})
        told = str(answer.status_code)
        if answer.status_code == 202:  # damaged so that its header promises a large picture
            client.delete(answer.headers["location"]).raise_for_status()
        elif answer.status_code != 200:
            told += " " + answer.json()["code"]
        # A service that is full may say so; this one is not: there are fewer clients than places.
        if answer.status_code >= 500 or answer.status_code in (408, 499):
            fault = told
    except (httpx.HTTPError, ValueError, KeyError) as error:
        told = fault = f"{type(error).__name__}: {error}"
    took = time.monotonic() - began
    with lock:
        outcome.sent += 1
        outcome.answers[told] += 1
        if took > outcome.slowest:
            outcome.slowest, outcome.slowest_picture = took, what
        if fault is not None:
            outcome.faults.append(f"{what}: {fault}")
            if keep is not None:
                keep.mkdir(parents=True, exist_ok=True)
                (keep / what.split(maxsplit=1)[0]).write_bytes(data)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--first", type=int, default=0, help="number of the first picture")
    parser.add_argument("--keep", type=Path, default=Path(".cache/fuzz"))
    options = parser.parse_args()
    outcome = campaign(seconds=options.seconds, count=options.count, first=options.first, keep=options.keep)
    sys.stdout.write(f"{outcome.sent} pictures, the slowest {outcome.slowest:.1f} s ({outcome.slowest_picture})\n")
    for told, times in outcome.answers.most_common():
        sys.stdout.write(f"{times:8} {told}\n")
    sys.stdout.write(f"memory {outcome.memory_before >> 20} -> {outcome.memory_after >> 20} MiB\n")
    sys.stdout.write("".join(f"FAULT {fault}\n" for fault in outcome.faults))
    return 1 if outcome.faults else 0


if __name__ == "__main__":
    sys.exit(main())
