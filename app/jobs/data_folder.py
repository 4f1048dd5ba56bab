"""``CHETKO_DATA_DIR``: held by one ``chetko serve`` at a time, with a note of the processes that it started.

Two queue servers on one folder would both append to one file. So the folder is locked before anything is started, and
the lock goes with the process that holds it, however it ends. Its file says who that is, and which children it
started: where the kernel does not end them with their parent (anywhere but on Linux), the next start does.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

LOCK_FILE = "serve.lock"

LOCK_SECONDS = 1.0
"""How long the lock is waited for: a holder that was killed just now is not gone yet."""

ORPHAN_SECONDS = 10.0
"""How long an orphan gets to end by itself before it is killed."""


class DataFolderError(Exception):
    """The data folder cannot be used; the text is the sentence to show."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process that cannot be mistaken for a later one with the same number."""

    pid: int
    started: str
    """When it started, in whatever form the system tells it; differs for whoever gets the same number later."""

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """The process that has this number now; None where there is none, or only what is left of one (a zombie)."""
        started = _started(pid)
        return None if started is None else cls(pid, started)

    def alive(self) -> bool:
        return _started(self.pid) == self.started


@dataclass(slots=True)
class Note:
    """What the lock file says. It may be old: whoever wrote it may have been killed."""

    holder: Process
    since: str
    """ISO 8601, UTC, whole seconds."""
    queue_url: str | None = None
    """Where the queue server of the holder answers."""
    short_folder: str | None = None
    """A folder elsewhere that belongs to this one; see ``DataFolder.socket_path``."""
    children: dict[str, Process] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(
            {
                "pid": self.holder.pid,
                "started": self.holder.started,
                "since": self.since,
                "queue_url": self.queue_url,
                "short_folder": self.short_folder,
                "children": {name: [child.pid, child.started] for name, child in self.children.items()},
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Self | None:
        """None for what is no note: an empty file, or one that a crash of the machine left half."""
        try:
            given: Any = json.JSONDecoder().raw_decode(text)[0]  # bytes of a longer one may follow
            return cls(
                holder=Process(int(given["pid"]), str(given["started"])),
                since=str(given["since"]),
                queue_url=given["queue_url"],
                short_folder=given["short_folder"],
                children={str(name): Process(int(pid), str(at)) for name, (pid, at) in given["children"].items()},
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            return None


def note_in(folder: Path) -> Note | None:
    """What the lock file of a data folder says; None where there is none."""
    try:
        return Note.from_json((folder / LOCK_FILE).read_text("utf-8", errors="replace"))
    except OSError:
        return None


class DataFolder:
    """A data folder that this process holds. Made by ``hold``."""

    def __init__(self, path: Path, descriptor: int, me: Process) -> None:
        self.path = path
        self._descriptor = descriptor
        self._note = Note(me, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))

    @classmethod
    @contextmanager
    def hold(cls, path: Path, *, tell: Callable[[str], None] = lambda _: None) -> Iterator[DataFolder]:
        """Makes the folder if need be, locks it, and ends what an earlier holder left running.

        ``tell`` gets a sentence about each orphan. Raises DataFolderError: another process holds the folder, or it
        cannot be written.
        """
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        except OSError as error:
            raise DataFolderError(
                f"The data folder {path} cannot be used ({error.strerror or error}): set CHETKO_DATA_DIR to a folder "
                "that can be written."
            ) from error
        try:
            _lock(path, descriptor)
            before = note_in(path)
            me = Process.of(os.getpid())
            assert me is not None  # noqa: S101 - this process runs
            folder = cls(path, descriptor, me)
            if before is not None:
                _clear_away(before, tell)
            folder._write()
            yield folder
            folder.close()
        finally:
            os.close(descriptor)  # which gives the lock back

    def socket_path(self) -> Path:
        """A path for the queue's socket, in a folder that is nobody else's.

        It lies in the data folder unless the path would be longer than what the system takes; then in a private
        folder with a short name, which goes when the data folder is given back.
        """
        own = self.path / "queue" / "socket"
        if len(os.fsencode(own)) <= longest_socket_path():
            return own
        import tempfile  # noqa: PLC0415 - rarely needed

        # Not TMPDIR, which may be long itself.
        runtime = os.environ.get("XDG_RUNTIME_DIR", "")
        short = bool(runtime) and len(os.fsencode(runtime)) < 60 and os.access(runtime, os.W_OK)
        folder = tempfile.mkdtemp(prefix="chetko-", dir=runtime if short else "/tmp")  # noqa: S108 - private: 0700
        self._note.short_folder = folder
        self._write()
        return Path(folder) / "socket"

    def note_queue(self, url: str) -> None:
        """Writes down where the queue server answers, for ``chetko worker`` beside this process."""
        self._note.queue_url = url
        self._write()

    def note_child(self, name: str, pid: int) -> None:
        """Writes down that this process started another one; a child that has ended already is left out."""
        child = Process.of(pid)
        if child is not None:
            self._note.children[name] = child
            self._write()

    def forget_child(self, name: str) -> None:
        if self._note.children.pop(name, None) is not None:
            self._write()

    def close(self) -> None:
        """Everything that was started has ended: nothing of it stays in the note."""
        if self._note.short_folder is not None:
            shutil.rmtree(self._note.short_folder, ignore_errors=True)
        os.ftruncate(self._descriptor, 0)

    def _write(self) -> None:
        text = self._note.to_json().encode()
        # Cut only afterwards: whoever reads meanwhile finds a whole note, perhaps with the old one's end behind it.
        os.pwrite(self._descriptor, text, 0)
        os.ftruncate(self._descriptor, len(text))


def longest_socket_path() -> int:
    """Bytes that a unix socket's path may have: 107 on Linux, 103 on macOS and the BSDs."""
    return 107 if sys.platform == "linux" else 103


def _lock(path: Path, descriptor: int) -> None:
    import fcntl  # noqa: PLC0415 - there is none on Windows, where there is no queue server either

    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise DataFolderError(
                    f"The file system of {path} has no locks ({error.strerror or error}): set CHETKO_DATA_DIR to a "
                    "folder on a local disk."
                ) from error
            if time.monotonic() > deadline:
                raise DataFolderError(_held(path, note_in(path))) from None
            time.sleep(0.02)
        else:
            return


def _held(path: Path, note: Note | None) -> str:
    who = "another process" if note is None else f"process {note.holder.pid} since {note.since}"
    return (
        f"The data folder {path} is in use by another chetko serve ({who}): stop that one, or set CHETKO_DATA_DIR to "
        "another folder."
    )


def _clear_away(note: Note, tell: Callable[[str], None]) -> None:
    """Ends the children of a holder that was killed, the last one started first, and removes its short folder."""
    for name, child in reversed(note.children.items()):
        if end_process(child):
            tell(f"The {name} of an earlier chetko serve was still running (process {child.pid}) and was ended.")
    if note.short_folder is not None and Path(note.short_folder).name.startswith("chetko-"):
        shutil.rmtree(note.short_folder, ignore_errors=True)


def end_process(process: Process, *, seconds: float = ORPHAN_SECONDS) -> bool:
    """Asks a process to end, kills it after ``seconds``, and returns once it is gone; False if it was gone before."""
    if not process.alive():
        return False
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)
        deadline = time.monotonic() + seconds
        while process.alive() and time.monotonic() < deadline:
            time.sleep(0.02)
    if process.alive():
        raise DataFolderError(
            f"Process {process.pid}, which an earlier chetko serve started, cannot be ended: end it, then start again."
        )
    return True


def _started(pid: int) -> str | None:
    if sys.platform == "linux":
        try:
            # Counted from the end of the name, which may hold anything: state is the 3rd field, start the 22nd.
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            return None
        return None if fields[0] in (b"Z", b"X") else f"{boot} {int(fields[19])}"
    answer = subprocess.run(  # noqa: S603 - a number
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)],  # noqa: S607 - wherever the system has it
        capture_output=True,
        text=True,
        env={**os.environ, "LC_ALL": "C"},
        check=False,
    )
    state, _, started = answer.stdout.strip().partition(" ")
    return started.strip() if state and not state.startswith("Z") else None
