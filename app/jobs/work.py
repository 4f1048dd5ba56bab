"""What is computed for each kind of task. Blocks; knows storage and pixels, not the queue."""

from __future__ import annotations

import json
import secrets
import time
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO, cast

from app.imaging.bands import SourceLayout
from app.imaging.before import write_source_pyramid
from app.imaging.decoder import DecodingCancelledError
from app.imaging.header import Header
from app.inference.backend import HasEngine
from app.inference.course import Course, plot_course
from app.inference.engine import Engine
from app.inference.enlarge import enlarge
from app.inference.errors import UpscaleCancelledError
from app.inference.options import Limits, Options
from app.inference.result import Report, animates, output_format, output_frames
from app.inference.strips import Strip, assemble, compute_strip, plan_strips, write_tiles
from app.jobs import places
from app.jobs.file_names import distinct, result_name
from app.jobs.hashing import HashingWriter
from app.jobs.model import Job, Result, Source, speed_name
from app.jobs.tasks import Task
from app.jobs.verdict import ModelChangedError
from app.settings import Settings
from app.storage import Storage
from app.telemetry import metrics

TARGET_SECONDS = 5.0
"""What a strip takes: as much is lost with a worker that dies."""
WHOLE_PIXELS = 16_000_000
"""Pictures that become no larger than this in about the time of one strip are done at once, without strips."""
TILED_PIXELS = 16_000_000
"""Larger results get tiles, from which a viewer shows what of them is on the screen."""
_UNMEASURED_SECONDS_PER_PIXEL = 0.5e-6
_KEPT_PLANS = 8
_READ_BYTES = 1 << 20
# Their encoders write from the first byte to the last; the others go back.
_SEQUENTIAL = ("png", "jpeg", "gif", "apng")


@dataclass(frozen=True, slots=True)
class _Plan:
    """What ``prepare`` found out about a picture."""

    layout: SourceLayout
    strips: tuple[Strip, ...]


@dataclass(frozen=True, slots=True)
class _Call:
    """One task with all that it needs."""

    job: Job
    task: Task
    options: Options
    course: Course
    engine: Engine
    cancelled: Callable[[], bool]
    progress: Callable[[float], None]

    @property
    def source(self) -> Source:
        return self.job.sources[self.task.picture]


class Work:
    """The hands of one worker."""

    def __init__(self, storage: Storage, backend: HasEngine, settings: Settings) -> None:
        self._storage = storage
        self._backend = backend
        self._settings = settings
        self._plans: OrderedDict[str, _Plan] = OrderedDict()
        self.device = str(backend.engine.device.name)

    def do(
        self,
        job: Job,
        task: Task,
        record: Mapping[str, str],
        *,
        speed: float | None,
        cancelled: Callable[[], bool],
        progress: Callable[[float], None],
    ) -> dict[str, Any]:
        """What came of the task, for ``complete``.

        ``record``: the job's fields as they lie in Redis. ``speed``: measured seconds per megapixel that the networks
        make. ``progress`` gets the written part of a result. Raises what ``judge`` knows, and UpscaleCancelledError.
        """
        if task.kind == "pack":
            return self._pack(job, record, cancelled, progress)
        options = Options.from_json({**job.options, "model": job.model})
        source = job.sources[task.picture]
        engine = self._backend.engine  # the same until the end, whatever becomes of the models meanwhile
        course = plot_course(options, engine.registry, source.width, source.height)
        if course.variants[0].manifest.version != job.model_version:
            raise ModelChangedError
        call = _Call(job, task, options, course, engine, cancelled, progress)
        if task.kind == "prepare":
            return self._prepare(call, None if speed is None else speed / 1e6)
        token = record[f"plan:{task.picture}"]
        plan = self._plan(places.plan(job.home, task.picture, token))
        act = {"strip": self._strip, "assemble": self._assemble, "tiles": self._tiles}[task.kind]
        return act(call, plan, token)

    def discard(self, outcome: Mapping[str, Any]) -> None:
        """Removes what a task wrote whose work does not count: another run was faster, or nobody wants it."""
        if "result" in outcome:
            self._storage.delete(json.loads(outcome["result"])["key"])
        if "tiles" in outcome:
            told = json.loads(outcome["tiles"])
            for each in ("pyramid", "before"):
                self._storage.delete(told[each]["key"])

    def tidy(self, job: Job, task: Task, record: Mapping[str, str]) -> None:
        """Removes what nobody needs any more once the task counts and is the last one to read it."""
        if task.kind in ("assemble", "tiles"):
            self._storage.delete_prefix(places.strips(job.home, task.picture, record[f"plan:{task.picture}"]))
        elif task.kind == "pack":
            for picture in range(len(job.sources)):
                self._storage.delete(Result(**json.loads(record[f"result:{picture}"])).key)

    def _prepare(self, call: _Call, seconds_per_pixel: float | None) -> dict[str, Any]:
        job, picture = call.job, call.task.picture
        pixels = call.course.enlarged[0] * call.course.enlarged[1]
        expected = pixels * (_UNMEASURED_SECONDS_PER_PIXEL if seconds_per_pixel is None else seconds_per_pixel)
        with self._storage.open(call.source.key) as file:
            header = self._backend.decoder.read_header(file)
        if animates(header, call.options) or (pixels <= WHOLE_PIXELS and expected <= TARGET_SECONDS):
            return self._whole(call, header)
        token = secrets.token_hex(6)

        def keep(number: int, rows: bytes) -> None:
            _check(call)
            self._storage.put(places.band(job.home, picture, token, number), rows)

        with self._storage.open(call.source.key) as file:
            try:
                layout = self._backend.decoder.write_bands(
                    file,
                    keep,
                    max_pixels=self._settings.max_input_pixels,
                    metadata=call.options.metadata,
                    cancelled=call.cancelled,
                )
            except DecodingCancelledError as error:
                raise UpscaleCancelledError("The picture was cancelled.") from error
        strips = plan_strips(
            layout,
            call.options,
            call.engine,
            seconds_per_pixel=seconds_per_pixel,
            target_seconds=TARGET_SECONDS,
        )
        content = {"layout": layout.to_json(), "strips": [strip.to_json() for strip in strips]}
        self._storage.put(places.plan(job.home, picture, token), json.dumps(content).encode())
        outcome = {
            "plan": token,
            "units": len(strips),
            "cost": max(1, round(1000 * expected / len(strips))),
            "assemble_cost": max(1, round(100 * expected)),
        }
        if not job.batch and call.course.width * call.course.height > TILED_PIXELS:
            outcome["tiles_cost"] = max(1, round(60 * expected))
        return outcome

    def _whole(self, call: _Call, header: Header) -> dict[str, Any]:
        began = time.perf_counter()
        with self._storage.open(call.source.key) as file:
            wanted = output_format(call.options, call.source.format, has_alpha=header.has_alpha, frames=header.frames)

            def write(target: BinaryIO) -> Report:
                return enlarge(
                    file,
                    target,
                    call.options,
                    call.engine,
                    limits=Limits(self._settings.max_input_pixels, None, self._settings.max_frames),
                    cancelled=call.cancelled,
                    decoder=self._backend.decoder,
                )

            result, report = self._write(call, wanted, write)
        seconds = report.timings.get("inference", time.perf_counter() - began)
        return self._outcome(result, report) | self._measured(
            call.course, call.course.source[1] * output_frames(header, call.options), seconds
        )

    def _strip(self, call: _Call, plan: _Plan, token: str) -> dict[str, Any]:
        home, picture = call.job.home, call.task.picture
        strip = plan.strips[call.task.unit]
        began = time.perf_counter()
        rows = compute_strip(
            plan.layout,
            self._bands_of(call, token),
            strip,
            call.options,
            call.engine,
            cancelled=call.cancelled,
        )
        seconds = time.perf_counter() - began
        self._storage.put(places.strip(home, picture, token, strip.index), rows)
        part = (strip.bottom - strip.top) / plan.strips[-1].bottom
        return self._measured(call.course, call.course.source[1] * part, seconds)

    def _assemble(self, call: _Call, plan: _Plan, token: str) -> dict[str, Any]:
        wanted = output_format(call.options, plan.layout.source_format, has_alpha=plan.layout.has_alpha)

        def write(target: BinaryIO) -> Report:
            return assemble(
                plan.layout,
                plan.strips,
                self._strips_of(call, token),
                target,
                call.options,
                registry=call.engine.registry,
                get=self._bands_of(call, token),
                threads=call.engine.threads,
                cancelled=call.cancelled,
                progress=call.progress,
            )

        return self._outcome(*self._write(call, wanted, write))

    def _tiles(self, call: _Call, plan: _Plan, token: str) -> dict[str, Any]:
        home, picture, course = call.job.home, call.task.picture, call.course
        own = secrets.token_hex(6)
        with self._storage.writer(places.pyramid(home, own)) as tiles:
            write_tiles(
                plan.layout,
                plan.strips,
                self._strips_of(call, token),
                tiles,
                call.options,
                registry=call.engine.registry,
                get=self._bands_of(call, token),
                threads=call.engine.threads,
                cancelled=call.cancelled,
            )
            size = tiles.commit()
        with self._storage.writer(places.source_pyramid(home, own)) as before:
            write_source_pyramid(plan.layout, self._bands_of(call, token), before, threads=call.engine.threads)
            before_size = before.commit()
        told = {
            "pyramid": {"key": places.pyramid(home, own), "bytes": size},
            "before": {"key": places.source_pyramid(home, own), "bytes": before_size},
            "plan": places.plan(home, picture, token),
            "bands": places.bands(home, picture, token),
            "width": course.width,
            "height": course.height,
            "box": [side / course.scale for side in course.box],
        }
        return {"tiles": json.dumps(told)}

    def _bands_of(self, call: _Call, token: str) -> Callable[[int], bytes]:
        return lambda number: self._storage.get(places.band(call.job.home, call.task.picture, token, number))

    def _strips_of(self, call: _Call, token: str) -> Callable[[int], bytes]:
        return lambda number: self._storage.get(places.strip(call.job.home, call.task.picture, token, number))

    def _write(self, call: _Call, wanted: str, write: Callable[[BinaryIO], Report]) -> tuple[Result, Report]:
        key = places.result(call.job.home, call.task.picture, secrets.token_hex(6))
        open_writer = self._storage.writer if wanted in _SEQUENTIAL else self._storage.seekable_writer
        with open_writer(key) as target:
            hashing = HashingWriter(target)
            report = write(hashing)
            digest = hashing.sha256()
            size = target.commit()
        passes = "+".join(f"x{scale}" for scale in report.passes)
        result = Result(
            key=key,
            bytes=size,
            media_type=report.media_type,
            extension=report.extension,
            sha256=digest,
            width=report.width,
            height=report.height,
            scale=report.scale,
            model=f"{report.model}/{passes}@{report.version}",
        )
        return result, report

    def _outcome(self, result: Result, report: Report) -> dict[str, Any]:
        return {"result": json.dumps(asdict(result)), "notices": json.dumps(list(report.notices))}

    def _measured(self, course: Course, rows: float, seconds: float) -> dict[str, Any]:
        """The speed record of ``rows`` of the source."""
        pixels = rows * course.source[0] * course.scale**2
        passes = "+".join(str(variant.scale) for variant in course.variants)
        metrics.OUTPUT_MEGAPIXELS.labels(course.variants[0].manifest.name, passes, "job").inc(pixels / 1e6)
        manifest = course.variants[0].manifest
        name = speed_name(manifest.name, [variant.scale for variant in course.variants], manifest.version)
        return {"speed": {"name": name, "value": seconds / pixels * 1e6}}

    def _pack(
        self,
        job: Job,
        record: Mapping[str, str],
        cancelled: Callable[[], bool],
        progress: Callable[[float], None],
    ) -> dict[str, Any]:
        """All results as one ZIP, stored and not deflated: pictures are compressed already."""
        results = [Result(**json.loads(record[f"result:{picture}"])) for picture in range(len(job.sources))]
        names = distinct(
            result_name(source.name, result.scale or 1, result.extension)
            for source, result in zip(job.sources, results, strict=True)
        )
        key = places.archive(job.home, secrets.token_hex(6))
        total = sum(result.bytes for result in results)
        written = 0
        with self._storage.writer(key) as target:
            hashing = HashingWriter(target)
            with zipfile.ZipFile(cast("BinaryIO", _Unseekable(hashing)), "w", zipfile.ZIP_STORED) as archive:
                for name, result in zip(names, results, strict=True):
                    # A fixed date: the same pictures make the same bytes.
                    entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
                    entry.file_size = result.bytes
                    with archive.open(entry, "w", force_zip64=True) as member, self._storage.open(result.key) as file:
                        while data := file.read(_READ_BYTES):
                            if cancelled():
                                raise UpscaleCancelledError("The job was cancelled.")
                            member.write(data)
                            written += len(data)
                            progress(written / max(1, total))
            size = target.commit()
        archived = Result(key=key, bytes=size, media_type="application/zip", extension="zip", sha256=hashing.sha256())
        return {"result": json.dumps(asdict(archived))}

    def _plan(self, key: str) -> _Plan:
        if key in self._plans:
            self._plans.move_to_end(key)
            return self._plans[key]
        content = json.loads(self._storage.get(key))
        layout = SourceLayout.from_json(content["layout"])
        plan = self._plans[key] = _Plan(layout, tuple(Strip.from_json(strip) for strip in content["strips"]))
        if len(self._plans) > _KEPT_PLANS:
            self._plans.popitem(last=False)
        return plan


def _check(call: _Call) -> None:
    if call.cancelled():
        raise UpscaleCancelledError("The picture was cancelled.")


class _Unseekable:
    """A file that only goes forward, so that zipfile writes sizes behind the data instead of going back."""

    def __init__(self, target: BinaryIO) -> None:
        self._target = target

    def write(self, data: bytes) -> int:
        return self._target.write(data)

    def flush(self) -> None:
        """Nothing is held back here."""
