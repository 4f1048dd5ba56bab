"""Starts the processes that belong to a ``chetko serve``, starts a dead one again, and ends them in order."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from app.jobs.data_folder import DataFolder
from app.telemetry.exposition import forget_process

FIRST_DELAY_SECONDS = 0.1
LONGEST_DELAY_SECONDS = 5.0
"""Below the 10 seconds in which a killed worker's work must be running again."""
PROVEN_SECONDS = 20.0
"""A process that lived this long counts as healthy: its next death is waited out as briefly as the first."""

READY_POLL_SECONDS = 0.01
READY_SECONDS = 120.0
"""How long a process may take from its start to its first answer; reading a large queue file takes seconds."""

_log = logging.getLogger("chetko.processes")


class PartFailedError(Exception):
    """A part could not be started; the text is the sentence to show."""


@dataclass(frozen=True)
class Part:
    """One kind of process to keep alive."""

    name: str
    """As in "The worker ended"."""
    command: Sequence[str]
    niceness: int = 0
    """How far it stands back behind this process."""
    environ: Mapping[str, str] = field(default_factory=dict)
    """Variables on top of this process's own."""
    answers: Callable[[], Awaitable[bool]] | None = None
    """Where given: parts that come after it start only when this says yes."""
    output: Path | None = None
    """A file to which everything that it prints is added; unset: it prints to where this process does."""
    drains: bool = False
    """Whether it is asked to end as soon as this process begins to stop. Others serve until the very end."""
    reloads: bool = False
    """Whether it is told when this process is asked to read its models again."""
    stop_seconds: float = 10.0
    """How long it gets to end after it was asked to."""
    descriptors: Sequence[int] = ()
    """Open files of this process that it gets under the same numbers."""


class Supervisor:
    """Keeps parts alive. All methods belong to the event loop of the *main* thread: the kernel ends the children
    when the thread that started them ends.
    """

    def __init__(self, folder: DataFolder | None, parts: Sequence[Part]) -> None:
        """``parts`` in the order in which they start; they end in the opposite order. ``folder`` keeps note of them."""
        self._folder = folder
        self._kept = [_Kept(part, folder) for part in parts]

    async def start(self) -> None:
        """Starts every part in order, waiting for those that answer; raises PartFailedError, with all ended again."""
        try:
            for kept in self._kept:
                await kept.start()
        except BaseException:
            await self.close(at_once=True)
            raise

    def drain(self) -> None:
        """Asks the parts that drain to finish what they do and end; they are not started again."""
        for kept in self._kept:
            if kept.part.drains:
                kept.ask_to_end()

    def reload(self) -> None:
        """Tells the parts that reload to read their models again."""
        for kept in self._kept:
            if kept.part.reloads:
                kept.send(signal.SIGHUP)

    async def close(self, *, at_once: bool = False) -> None:
        """Ends every part, the last one started first, and returns when all are gone.

        A part that was asked to end already has its time counted from then; ``at_once`` kills instead of asking.
        """
        for kept in reversed(self._kept):
            await kept.end(at_once=at_once)


class _Kept:
    """A part and its process."""

    def __init__(self, part: Part, folder: DataFolder | None) -> None:
        self.part = part
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._ending = asyncio.Event()
        self._asked_at: float | None = None

    async def start(self) -> None:
        process = await self._spawn()
        if self.part.answers is not None:
            await self._wait_until_it_answers(process)
        self._keeping = asyncio.ensure_future(self._keep(process))

    def ask_to_end(self) -> None:
        if self._asked_at is None:
            self._asked_at = time.monotonic()
            self._ending.set()
            self.send(signal.SIGTERM)

    async def end(self, *, at_once: bool) -> None:
        self.ask_to_end()
        assert self._asked_at is not None  # noqa: S101 - set by the line above
        if self._process is not None:
            left = 0.0 if at_once else max(0.0, self._asked_at + self.part.stop_seconds - time.monotonic())
            try:
                await asyncio.wait_for(self._process.wait(), left)
            except TimeoutError:
                if not at_once:
                    _log.warning(
                        "The %s did not end within %g s and was killed.", self.part.name, self.part.stop_seconds
                    )
                self.send(signal.SIGKILL)
                await self._process.wait()
        if self._keeping is not None:
            await self._keeping
        if self._folder is not None:
            self._folder.forget_child(self.part.name)

    def send(self, number: signal.Signals) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):  # it has ended by itself
                self._process.send_signal(number)

    async def _spawn(self) -> asyncio.subprocess.Process:
        with ExitStack() as opened:
            output = opened.enter_context(self.part.output.open("ab")) if self.part.output is not None else None
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(Path(__file__).with_name("tied.py"))),
                *(str(os.getpid()), str(self.part.niceness)),
                *self.part.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=self.part.descriptors,
                env={**os.environ, **self.part.environ},
            )
        if self._folder is not None:
            self._folder.note_child(self.part.name, self._process.pid)
        return self._process

    async def _wait_until_it_answers(self, process: asyncio.subprocess.Process) -> None:
        assert self.part.answers is not None  # noqa: S101 - asked by start
        deadline = time.monotonic() + READY_SECONDS
        while not await self.part.answers():
            if process.returncode is not None:
                why = f"it {how_it_ended(process.returncode)}"
            elif time.monotonic() > deadline:
                why = f"it does not answer within {READY_SECONDS:g} s"
            else:
                await asyncio.sleep(READY_POLL_SECONDS)
                continue
            words = _last_line(self.part.output)
            raise PartFailedError(f"The {self.part.name} cannot be started: {why}{words and f' ({words})'}.")

    async def _keep(self, process: asyncio.subprocess.Process) -> None:
        delay = FIRST_DELAY_SECONDS
        while True:
            began = time.monotonic()
            code = await process.wait()
            forget_process(process.pid)
            if self._ending.is_set():
                return
            if time.monotonic() - began > PROVEN_SECONDS:
                delay = FIRST_DELAY_SECONDS
            how = f"(process {process.pid}) {how_it_ended(code)}"
            while True:
                _log.warning("The %s %s; it is started again in %g s.", self.part.name, how, delay)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._ending.wait(), delay)
                    return
                delay = min(delay * 2, LONGEST_DELAY_SECONDS)
                try:
                    process = await self._spawn()
                    break
                except OSError as error:  # no memory, no process number, no file left: perhaps later
                    how = f"cannot be started ({error.strerror or error})"


def _last_line(output: Path | None) -> str:
    """What a process said last, without its full stop; empty where nobody kept it."""
    if output is None:
        return ""
    lines = output.read_text("utf-8", errors="replace").split("\n")
    return next((line.strip().rstrip(".") for line in reversed(lines) if line.strip()), "")


def how_it_ended(code: int) -> str:
    """A process's return code as the end of a sentence that begins with its name."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = ", perhaps because memory ran out" if name == "SIGKILL" else ""
    return f"was ended by {name}{hint}"
