"""Processes that are kept alive and ended in order; the embedded queue server among them."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from app.jobs import supervisor
from app.jobs.data_folder import DataFolder, Process, note_in
from app.jobs.embedded import EmbeddedQueue
from app.jobs.supervisor import Part, PartFailedError, Supervisor, how_it_ended

# Writes a line when it starts and when it is asked to end, and ends then.
LIVELY = """
import os, signal, sys, time
def say(what):
    with open(sys.argv[1], 'a') as file:
        file.write(f'{sys.argv[2]} {what} {os.getpid()} {os.nice(0)}\\n')
def end(*_):
    say('ends')
    sys.exit(0)
signal.signal(signal.SIGTERM, end if len(sys.argv) == 3 else signal.SIG_IGN)
say('starts')
time.sleep(600)
"""


def lively(log: Path, name: str, *more: str, **given: Any) -> Part:
    return Part(name, [sys.executable, "-c", LIVELY, str(log), name, *more], **given)


def lines(log: Path) -> list[list[str]]:
    return [line.split() for line in log.read_text().splitlines()] if log.exists() else []


async def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not happen"
        await asyncio.sleep(0.01)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[DataFolder]:
    with DataFolder.hold(tmp_path / "data") as held:
        yield held


def run(given: Coroutine[Any, Any, None]) -> None:
    asyncio.run(given)


def test_parts_start_in_order_and_end_in_the_opposite_order(folder: DataFolder, tmp_path: Path) -> None:
    log = tmp_path / "log"

    async def main() -> None:
        async def answers() -> bool:
            return len(lines(log)) == 1

        parts = Supervisor(folder, [lively(log, "first", answers=answers), lively(log, "second", niceness=7)])
        await parts.start()
        await wait_until(lambda: len(lines(log)) == 2)
        note = note_in(folder.path)
        assert note is not None
        assert list(note.children) == ["first", "second"]
        await parts.close()
        note = note_in(folder.path)
        assert note is not None
        assert not note.children

    run(main())
    said = lines(log)
    assert [line[:2] for line in said] == [
        ["first", "starts"],
        ["second", "starts"],
        ["second", "ends"],
        ["first", "ends"],
    ]
    assert int(said[1][3]) - int(said[0][3]) == min(7, 19 - int(said[0][3]))


def test_a_dead_part_is_started_again_and_the_log_says_why(
    folder: DataFolder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = tmp_path / "log"

    async def main() -> None:
        parts = Supervisor(folder, [lively(log, "worker")])
        await parts.start()
        for count in (1, 2):
            await wait_until(lambda count=count: len(lines(log)) == count)  # type: ignore[misc]
            os.kill(int(lines(log)[-1][2]), signal.SIGKILL)
        await wait_until(lambda: len(lines(log)) == 3)
        await parts.close()

    with caplog.at_level(logging.WARNING):
        run(main())
    first, second = (record.getMessage() for record in caplog.records)
    assert "was ended by SIGKILL, perhaps because memory ran out; it is started again in 0.1 s." in first
    assert second.endswith("again in 0.2 s."), "it waits longer each time"
    assert [line[1] for line in lines(log)] == ["starts", "starts", "starts", "ends"]


def test_waits_grow_to_a_bound_and_start_anew_after_a_long_life(
    folder: DataFolder, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "LONGEST_DELAY_SECONDS", 0.15)

    async def main() -> None:
        parts = Supervisor(folder, [Part("worker", [sys.executable, "-S", "-c", "raise SystemExit(3)"])])
        await parts.start()
        await wait_until(lambda: len(caplog.records) >= 3)
        monkeypatch.setattr(supervisor, "PROVEN_SECONDS", 0.0)
        already = len(caplog.records)
        await wait_until(lambda: len(caplog.records) >= already + 2)
        await parts.close()

    with caplog.at_level(logging.WARNING):
        run(main())
    told = [record.getMessage().partition(") ")[2] for record in caplog.records]
    assert told[:3] == [
        f"ended with exit code 3; it is started again in {delay} s." for delay in ("0.1", "0.15", "0.15")
    ]
    assert told[-1].endswith("again in 0.1 s.")


def test_a_part_that_drains_is_asked_first_and_stays_away(folder: DataFolder, tmp_path: Path) -> None:
    log = tmp_path / "log"

    async def main() -> None:
        parts = Supervisor(folder, [lively(log, "queue"), lively(log, "worker", drains=True)])
        await parts.start()
        await wait_until(lambda: len(lines(log)) == 2)
        parts.drain()
        parts.drain()
        await wait_until(lambda: len(lines(log)) == 3)
        await asyncio.sleep(0.3)
        assert lines(log)[-1][:2] == ["worker", "ends"]
        await parts.close()

    run(main())
    assert [line[:2] for line in lines(log)][3:] == [["queue", "ends"]]


def test_a_part_that_does_not_end_is_killed_in_time(folder: DataFolder, tmp_path: Path) -> None:
    log = tmp_path / "log"

    async def main() -> None:
        for at_once, stop_seconds in ((False, 0.5), (True, 60)):
            already = len(lines(log))
            parts = Supervisor(folder, [lively(log, "worker", "stubborn", stop_seconds=stop_seconds)])
            await parts.start()
            await wait_until(lambda already=already: len(lines(log)) > already)  # type: ignore[misc]
            began = time.monotonic()
            await parts.close(at_once=at_once)
            assert time.monotonic() - began < 20
            assert Process.of(int(lines(log)[-1][2])) is None

    run(main())


def test_a_part_that_cannot_start_is_one_sentence_with_its_last_words(folder: DataFolder, tmp_path: Path) -> None:
    log = tmp_path / "log"

    async def never() -> bool:
        return False

    async def main() -> None:
        failing = [sys.executable, "-S", "-c", "print('Bad file.\\n', flush=True); raise SystemExit(9)"]
        broken = Part("queue server", failing, answers=never, output=tmp_path / "output")
        parts = Supervisor(folder, [lively(log, "earlier"), broken, lively(log, "later")])
        with pytest.raises(
            PartFailedError, match=r"queue server cannot be started: it ended with exit code 9 \(Bad file\)"
        ):
            await parts.start()

    run(main())
    assert not any(line[0] == "later" for line in lines(log))
    note = note_in(folder.path)
    assert note is not None
    assert not note.children, "what was started before it has ended"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the next start ends the orphans")
def test_children_die_with_their_parent_however_it_dies(tmp_path: Path) -> None:
    code = f"""
import asyncio, sys
from pathlib import Path
from app.jobs.data_folder import DataFolder
from app.jobs.supervisor import Part, Supervisor
async def main(folder):
    command = [sys.executable, '-c', {LIVELY!r}, sys.argv[2], 'worker']
    await Supervisor(folder, [Part('worker', command)]).start()
    await asyncio.sleep(600)
with DataFolder.hold(Path(sys.argv[1])) as folder:
    asyncio.run(main(folder))
"""
    log = tmp_path / "log"
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "data"), str(log)])
    try:
        asyncio.run(wait_until(lambda: bool(lines(log))))
        child = Process.of(int(lines(log)[0][2]))
        assert child is not None
        assert os.getsid(child.pid) == child.pid, "Ctrl-C in the parent's terminal is none of its business"
    finally:
        parent.kill()
        parent.wait()
    asyncio.run(wait_until(lambda: not child.alive()))
    assert [line[1] for line in lines(log)] == ["starts"], "it was not asked"


def queue_part(queue: EmbeddedQueue) -> Part:
    return Part("queue server", queue.command(), answers=queue.answers, output=queue.log_file)


def test_the_queue_server_keeps_what_it_acknowledged_when_it_is_killed(folder: DataFolder) -> None:
    async def main() -> None:
        queue = EmbeddedQueue(folder)
        parts = Supervisor(folder, [queue_part(queue)])
        assert not await queue.answers()
        await parts.start()
        assert queue.socket.stat().st_mode & 0o777 == 0o700
        client = redis.Redis.from_url(queue.url)
        config = client.config_get("*")
        assert config["appendonly"] == "yes"
        assert config["appendfsync"] == "always"
        assert config["save"] == ""
        assert config["maxmemory-policy"] == "noeviction"
        assert config["port"] == "0"
        for count in range(3):
            assert client.incr("counter") == count + 1
            number = int(client.info("server")["process_id"])
            os.kill(number, signal.SIGKILL)
            await wait_until(lambda number=number: Process.of(number) is None)  # type: ignore[misc]
            deadline = time.monotonic() + 30
            while not await queue.answers():
                assert time.monotonic() < deadline
                await asyncio.sleep(0.01)
        assert client.get("counter") == b"3"
        client.close()
        await parts.close()
        assert not queue.socket.exists(), "it took its socket away: it was closed, not killed"

    run(main())


def test_a_queue_file_that_cannot_be_read_is_told(folder: DataFolder) -> None:
    async def main() -> None:
        queue = EmbeddedQueue(folder)
        log = queue.folder / "appendonlydir"
        log.mkdir()
        (log / "appendonly.aof.manifest").write_text("nonsense\n")
        with pytest.raises(
            PartFailedError, match=r"The queue server cannot be started: it ended with .*\(.*nvalid.*\)"
        ):
            await Supervisor(folder, [queue_part(queue)]).start()

    run(main())


def test_how_a_process_ended_is_told_in_words() -> None:
    assert how_it_ended(0) == "ended with exit code 0"
    assert how_it_ended(-11) == "was ended by SIGSEGV"
    assert how_it_ended(-99) == "was ended by signal 99"
