"""The data folder: one holder at a time, and what a killed holder leaves is ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.jobs import data_folder
from app.jobs.data_folder import LOCK_FILE, DataFolder, DataFolderError, Note, Process, end_process, note_in

SLEEPER = "import time; print('here', flush=True); time.sleep(600)"
STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print('here', flush=True); time.sleep(600)"
HOLDER = """
import sys, time
from pathlib import Path
from app.jobs.data_folder import DataFolder
with DataFolder.hold(Path(sys.argv[1])) as folder:
    for name, pid in zip(sys.argv[2::2], sys.argv[3::2]):
        folder.note_child(name, int(pid))
    print('held', flush=True)
    time.sleep(600)
"""


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that end with the test."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


def run(started: list[subprocess.Popen[str]], code: str, *arguments: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True)
    started.append(process)
    assert process.stdout is not None
    assert process.stdout.readline()
    return process


def test_a_second_holder_is_told_who_holds_it(tmp_path: Path, started: list[subprocess.Popen[str]]) -> None:
    holder = run(started, HOLDER, str(tmp_path))
    with pytest.raises(DataFolderError) as error, DataFolder.hold(tmp_path):
        pass
    assert f"(process {holder.pid} since 20" in str(error.value)
    assert "CHETKO_DATA_DIR" in str(error.value)


def test_the_folder_is_free_as_soon_as_its_holder_is_killed(
    tmp_path: Path, started: list[subprocess.Popen[str]]
) -> None:
    holder = run(started, HOLDER, str(tmp_path))
    holder.kill()
    with DataFolder.hold(tmp_path):
        note = note_in(tmp_path)
        assert note is not None
        assert note.holder == Process.of(os.getpid())


def test_orphans_of_a_killed_holder_are_ended_whether_they_want_or_not(
    tmp_path: Path, started: list[subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_folder.end_process, "__kwdefaults__", {"seconds": 0.5})
    polite, stubborn = run(started, SLEEPER), run(started, STUBBORN)
    holder = run(started, HOLDER, str(tmp_path), "queue server", str(polite.pid), "worker", str(stubborn.pid))
    holder.kill()
    holder.wait()
    told: list[str] = []
    with DataFolder.hold(tmp_path, tell=told.append):
        assert polite.wait(10) == -signal.SIGTERM
        assert stubborn.wait(10) == -signal.SIGKILL
    assert [sentence.split(" of an earlier")[0] for sentence in told] == ["The worker", "The queue server"]


def test_a_process_that_only_bears_the_number_of_an_orphan_lives_on(
    tmp_path: Path, started: list[subprocess.Popen[str]]
) -> None:
    bystander = run(started, SLEEPER)
    real = Process.of(bystander.pid)
    assert real is not None
    other = Process(real.pid, real.started + "0")
    note = Note(other, "2026-01-01T00:00:00Z", children={"worker": other})
    (tmp_path / LOCK_FILE).write_text(note.to_json())
    with DataFolder.hold(tmp_path):
        pass
    assert bystander.poll() is None
    assert not end_process(other)


def test_a_zombie_is_no_process() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    one = Process.of(child.pid)
    deadline = time.monotonic() + 20
    while Process.of(child.pid) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert one is None or not one.alive()
    child.wait()


def test_a_note_is_read_back_and_no_half_of_one(tmp_path: Path) -> None:
    me = Process.of(os.getpid())
    assert me is not None
    note = Note(me, "2026-01-01T00:00:00Z", "unix:///s", "/tmp/chetko-x", {"worker": me})  # noqa: S108
    text = note.to_json()
    assert Note.from_json(text) == note
    assert Note.from_json(text + '"}') == note, "the end of a longer one may follow"
    for half in ("", text[:-9], "[]", '{"pid": 1}', "null"):
        assert Note.from_json(half) is None
    assert note_in(tmp_path) is None


def test_the_note_shrinks_with_its_children(tmp_path: Path) -> None:
    with DataFolder.hold(tmp_path) as folder:
        folder.note_queue("unix:///s")
        folder.note_child("worker", os.getpid())
        folder.note_child("gone", 2**22 + 1)  # more than Linux gives out
        note = note_in(tmp_path)
        assert note is not None
        assert (list(note.children), note.queue_url) == (["worker"], "unix:///s")
        folder.forget_child("worker")
        assert note_in(tmp_path) is not None
        assert '"children": {}}' in (tmp_path / LOCK_FILE).read_text()
    assert (tmp_path / LOCK_FILE).read_text() == ""


def test_a_long_path_gets_a_short_private_folder_for_its_socket(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 110)
    with DataFolder.hold(long) as folder:
        socket = folder.socket_path()
        assert len(os.fsencode(socket)) < 107
        assert socket.parent.stat().st_mode & 0o777 == 0o700
    assert not socket.parent.exists()
    with DataFolder.hold(tmp_path / "short") as folder:
        assert folder.socket_path() == tmp_path / "short" / "queue" / "socket"


def test_the_short_folder_of_a_killed_holder_is_removed(tmp_path: Path) -> None:
    left = tmp_path / "chetko-abc"
    left.mkdir()
    gone = Process(2**22 + 1, "never")
    (tmp_path / LOCK_FILE).write_text(Note(gone, "2026-01-01T00:00:00Z", short_folder=str(left)).to_json())
    with DataFolder.hold(tmp_path):
        assert not left.exists()


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataFolderError, match="set CHETKO_DATA_DIR to a folder that can be written"):
        DataFolder.hold(tmp_path / "file" / "data").__enter__()
