"""``chetko upscale``: which pictures, under which names, and what is told on the way."""

from __future__ import annotations

import argparse
import os
import re
import secrets
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import BinaryIO

from app.imaging.decode import FIRST_FRAME_ONLY
from app.imaging.formats import FORMATS, choose_format
from app.imaging.header import read_header
from app.imaging.picture import ImagingError
from app.inference.course import check_options, plot_course
from app.inference.engine import Engine
from app.inference.enlarge import Limits, Options, Report, enlarge
from app.inference.errors import InferenceError
from app.inference.registry import Registry, model_folders
from app.settings import Settings

# Files in folders are taken by these extensions; files that are named are tried whatever they are called.
_EXTENSIONS = frozenset(
    [
        ".avif",
        ".bmp",
        ".gif",
        ".heic",
        ".heif",
        ".hif",
        ".jfif",
        ".jpe",
        ".jpeg",
        ".jpg",
        ".mpo",
        ".png",
        ".tif",
        ".tiff",
        ".webp",
    ]
)
_FORMAT_OF_EXTENSION = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".jpe": "jpeg",
    ".jfif": "jpeg",
    ".webp": "webp",
    ".avif": "avif",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".gif": "gif",
    ".apng": "apng",
}
_NOTICES = {FIRST_FRAME_ONLY: "only the first of its frames or pages was enlarged."}
# What ends a run besides Ctrl-C; a closed terminal hangs up.
_ENDING = (signal.SIGTERM, signal.SIGHUP) if hasattr(signal, "SIGHUP") else (signal.SIGTERM,)
_BAR = 24
# What the names of results end with.
_RESULT = re.compile(r"(_x[1-8](\.[0-9]+)?)+$")


class UsageError(Exception):
    """The options do not fit together or the files; the sentence says what to change."""


class FileProblemError(Exception):
    """One picture cannot be read or written for a reason that is not the picture's."""


@dataclass(frozen=True)
class Job:
    """One picture to enlarge."""

    source: Path
    folder: Path
    """Where the result goes."""
    target: Path | None = None
    """The result's whole path, where it was given."""


def upscale_files(options: argparse.Namespace, settings: Settings) -> int:
    """Enlarges what the command line names; returns its exit code."""
    with _ended_by_signals():
        return _upscale_files(options, settings)


def _upscale_files(options: argparse.Namespace, settings: Settings) -> int:
    try:
        jobs, missing = collect(options.inputs, options.output)
        options.format = _wanted_format(options, jobs)
        registry = Registry.load(model_folders(settings.models_dir))
        check_options(_options(options), registry)
        engine = Engine(
            registry,
            platform=settings.platform,
            precision=settings.precision,
            threads=settings.threads,
            tile_memory_mb=settings.tile_memory_mb,
        )
    except (UsageError, InferenceError) as error:
        _tell(f"chetko: {error}")
        return 2
    try:
        with engine:
            # A damaged model file is told once, not for every picture.
            for variant in registry.passes(options.model, 1 if options.width or options.height else options.scale):
                engine.graph(variant, "uint8")
            for sentence in missing:
                _tell(f"chetko: {sentence}")
            failed = _enlarge_all(jobs, options, engine)
    except InferenceError as error:
        _tell(f"chetko: {error}")
        return 2
    return 1 if failed or missing else 0


def _options(given: argparse.Namespace) -> Options:
    if given.fit and not (given.width and given.height):
        raise UsageError(f"--fit {given.fit} needs --width and --height.")
    return Options(
        model=given.model,
        scale=given.scale,
        width=given.width,
        height=given.height,
        fit=given.fit,
        format=given.format,
        quality=given.quality,
        metadata=given.metadata,
        equalize_colors=given.equalize_colors,
        tile=given.tile,
    )


def collect(inputs: list[Path], output: str | None) -> tuple[list[Job], list[str]]:
    """The pictures that the inputs stand for, and a sentence for each input that stands for none.

    ``output`` is a folder if it exists as one, ends with a slash, or there is more than one picture or any
    folder among the inputs; else the one result's file. Raises UsageError if it is a file and cannot be.
    """
    single = len(inputs) == 1 and not inputs[0].is_dir()
    out = None if output is None else Path(output)
    if out is not None and single and not out.is_dir() and not str(output).endswith(("/", os.sep)):
        return [Job(inputs[0], out.parent, out)], []
    if out is not None and out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file: several pictures need a folder.")
    jobs: list[Job] = []
    missing: list[str] = []
    for given in inputs:
        if not given.is_dir():
            jobs.append(Job(given, out or given.parent))
            continue
        found = [
            Job(path, out / path.relative_to(given).parent if out else path.parent) for path in _pictures(given, out)
        ]
        if not found:
            missing.append(f"{given}: no picture in this folder.")
        jobs += found
    return jobs, missing


def _pictures(folder: Path, out: Path | None) -> Iterator[Path]:
    """Pictures in a folder and below, sorted; not hidden ones, not what lies in ``out``, not earlier
    results."""
    skipped = None if out is None or out.resolve() == folder.resolve() else out.resolve()
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and (Path(place) / name).resolve() != skipped
        )
        stems = {Path(name).stem for name in files}
        for name in sorted(files):
            path = Path(place) / name
            if name.startswith(".") or path.suffix.lower() not in _EXTENSIONS:
                continue
            original = _RESULT.sub("", path.stem)
            if original != path.stem and original in stems:
                continue
            yield path


def _wanted_format(options: argparse.Namespace, jobs: list[Job]) -> str:
    """``same`` or a name in FORMATS: the option, else what the given result file's extension says."""
    if options.format is not None:
        return str(options.format)
    target = jobs[0].target if jobs else None
    if target is None:
        return "same"
    try:
        return _FORMAT_OF_EXTENSION[target.suffix.lower()]
    except KeyError:
        raise UsageError(
            f"{target}: the extension names no output format ({', '.join(sorted(FORMATS))}); give --format, or end "
            "OUT with a slash if it is a folder."
        ) from None


def _enlarge_all(jobs: list[Job], options: argparse.Namespace, engine: Engine) -> int:
    """Enlarges one picture after the other; returns how many failed, each told in a line."""
    failed = 0
    written: set[Path] = set()
    for number, job in enumerate(jobs, 1):
        label = _printable(f"{number}/{len(jobs)} {job.source.name}" if len(jobs) > 1 else job.source.name)
        progress = _Progress(label)
        try:
            # What codecs warn of is either refused in a sentence, or nothing to whoever waits for pictures.
            with warnings.catch_warnings(action="ignore"):
                target = _target(job, options, written, engine.registry)
                started = time.monotonic()
                report = _enlarge_one(job.source, target, options, engine, progress)
            seconds = time.monotonic() - started
        except (ImagingError, InferenceError, FileProblemError, OSError, MemoryError) as error:
            progress.clear()
            failed += 1
            _tell(f"chetko: {job.source}: {_sentence(error, job.source)}")
            continue
        progress.clear()
        written.add(target.resolve())
        line = f"{job.source} -> {target} ({report.width} x {report.height}, {seconds:.1f} s)"
        _say(_printable(line) + "\n")
        for notice in report.notices:
            _tell(f"chetko: {job.source}: {_NOTICES.get(notice, notice)}")
        if options.verbose:
            _say(_details(report))
    return failed


def _target(job: Job, options: argparse.Namespace, written: set[Path], registry: Registry) -> Path:
    """The result's path; its extension is that of the format that ``options.format`` is for this picture.

    Raises FileProblemError when an earlier picture of this run has the same, and when the source is a pipe or a
    device: opening one may wait for ever.
    """
    if job.source.exists() and not job.source.is_file():
        raise FileProblemError("not an ordinary file: pipes and devices are not read.")
    if job.target is not None:
        return job.target
    with job.source.open("rb") as source:
        header = read_header(source)
    extension = FORMATS[choose_format(options.format, header.format, frames=header.frames)].extension
    factor = plot_course(_options(options), registry, header.width, header.height).factor
    target = job.folder / f"{job.source.stem}_x{factor:.3g}.{extension}"
    if target.resolve() in written:
        raise FileProblemError(f"{target} is already the result of another picture of this run.")
    return target


def _enlarge_one(
    source: Path, target: Path, options: argparse.Namespace, engine: Engine, progress: _Progress
) -> Report:
    """Writes the enlarged picture to ``target``."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise FileProblemError(f"{target.parent} cannot be a folder: there is a file of that name.") from None
    with source.open("rb") as read, _finished_file(target, force=options.force) as written:
        return enlarge(
            read,
            written,
            _options(options),
            engine,
            # Whoever sits at the machine may use all of it; formats still say what they cannot hold.
            limits=Limits(max_input_pixels=None, max_output_pixels=None),
            progress=progress.show,
            scratch=target.parent,
        )


@contextmanager
def _finished_file(target: Path, *, force: bool) -> Iterator[BinaryIO]:
    """A file that appears as ``target`` when the block ends well, and of which nothing is left when it does
    not.

    Raises FileProblemError when ``target`` exists and is not to be overwritten, also if it has come into
    being meanwhile.
    """
    exists = FileProblemError(f"{target} exists; --force overwrites it.")
    if target.is_dir():
        raise FileProblemError(f"{target} is a folder.")
    if not force and os.path.lexists(target):
        raise exists
    # In the same folder, so that renaming is one step; short, since the name itself may be as long as names
    # get.
    # Random: containers that share a folder have the same process numbers.
    part = target.parent / f".chetko-{secrets.token_hex(6)}.part"
    try:
        with part.open("x+b") as file:
            yield file
        if force:
            part.replace(target)
        else:
            try:
                # Unlike a rename, a link never replaces a file.
                target.hardlink_to(part)
            except FileExistsError:
                raise exists from None
            except OSError:  # a file system without links
                if os.path.lexists(target):
                    raise exists from None
                part.replace(target)
    finally:
        part.unlink(missing_ok=True)


class _Progress:
    """A line with a bar and the remaining time, on a terminal only."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._started = time.monotonic()
        self._shown = sys.stderr.isatty()
        if self._shown:
            self._write(f"{label} ...")

    def show(self, fraction: float) -> None:
        """``fraction`` of the picture, 0..1, is done."""
        if not self._shown or fraction <= 0:
            return
        spent = time.monotonic() - self._started
        left = round(spent / fraction - spent)
        full = round(_BAR * fraction)
        clock = (
            f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02}" if left >= 3600 else f"{left // 60}:{left % 60:02}"
        )
        self._write(f"{self._label} [{'#' * full}{'.' * (_BAR - full)}] {fraction:4.0%}  {clock} left")

    def clear(self) -> None:
        """Leaves an empty line for what is told next."""
        if self._shown:
            self._write("")

    def _write(self, text: str) -> None:
        # Back to the start of the line, and clear what is left of the longer line before.
        sys.stderr.write(f"\r{text}\x1b[K")
        sys.stderr.flush()


def _details(report: Report) -> str:
    height, width = report.tile
    timings = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in report.timings.items())
    return (
        f"  model {report.model} {report.version}, provider {report.provider}, halo {report.halo} px, "
        f"tile {width} x {height} px, {report.tiles} tile{'s' if report.tiles != 1 else ''}; {timings}\n"
    )


def _sentence(error: BaseException, source: Path) -> str:
    if isinstance(error, MemoryError):
        return "not enough memory for this picture."
    if isinstance(error, OSError) and error.strerror:
        told = error.filename is None or str(error.filename) == str(source)
        return error.strerror if told else f"{error.filename}: {error.strerror}"
    return str(error)


def _say(text: str) -> None:
    """On standard output; once its reader has left, as in ``| head -1``, the work goes on in silence."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        # Also takes what is still in the buffer, over which python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _tell(line: str) -> None:
    sys.stderr.write(_printable(line) + "\n")


def _printable(line: str) -> str:
    """One line that any terminal takes: a file's name may hold line ends, escape sequences and bytes that are no
    text."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in line)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Inside, a request to end the process unwinds the stack, so that nothing unfinished stays on the disk.

    What is ignored (``nohup``) stays so.
    """
    previous = {each: signal.getsignal(each) for each in _ENDING}
    for each, handler in previous.items():
        if handler is not signal.SIG_IGN:
            signal.signal(each, _end)
    try:
        yield
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)


def _end(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)
