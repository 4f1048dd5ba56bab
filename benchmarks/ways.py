"""The ways that a picture can go, each measured by itself: bare onnxruntime, library, command line, service, jobs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import httpx
import numpy as np

from app.imaging.picture import Picture
from app.inference.cpus import usable_cpus
from app.inference.engine import Engine
from app.inference.registry import Registry, Variant, model_folders
from app.inference.upscale import upscale
from app.settings import Settings
from benchmarks import taken
from benchmarks.apart import Apart
from benchmarks.clients import Clients, span
from benchmarks.machine import bare_session
from benchmarks.pictures import body_of, file_of, photo
from benchmarks.service import Running, Workers, environment, running_service, running_workers

EDGES = (64, 96, 128, 192, 256, 384, 512, 768)
"""Tiles that bare onnxruntime is tried with, halo included."""
MOST_TILE_BYTES = 512 * 2**20
"""Of activations of such a tile."""
_ENOUGH_PIXELS = 16_000_000


@dataclass(frozen=True)
class Case:
    """One thing to measure."""

    way: str
    """``library``, ``command line``, ``service`` or ``jobs``."""
    model: str
    scale: int
    width: int
    """Of the picture, in pixels."""
    height: int
    form: str = ""
    """Of the result's file; empty for the library, which makes rows of pixels."""
    at_once: int = 1
    """Clients of the service, workers of the jobs."""
    target: float | None = None
    """The least share of bare onnxruntime's speed that is asked for."""

    @property
    def size(self) -> str:
        """As the table calls it."""
        pixels = self.width * self.height
        return f"{pixels / 1e6:.0f} MP" if pixels >= 1_000_000 else f"{self.width} x {self.height}"

    @property
    def name(self) -> str:
        """As the table calls it."""
        parties = {"service": "client", "jobs": "worker"}.get(self.way)
        many = f", {self.at_once} {parties}{'s' if self.at_once > 1 else ''}" if parties else ""
        return f"{self.way}{many}{f', {self.form.upper()}' if self.form else ''}"

    @property
    def output_pixels(self) -> int:
        return self.width * self.height * self.scale**2

    @property
    def count(self) -> int:
        """Pictures for one measurement, for each party: one small picture alone would measure a beginning."""
        return max(1, min(8, _ENOUGH_PIXELS // (self.output_pixels * self.at_once)))


@dataclass(frozen=True)
class Sample:
    """What one measurement of a case gave."""

    seconds: float
    output_pixels: int
    parts: dict[str, float] = field(default_factory=dict)
    """Seconds of ``decode``, ``inference`` and ``encode`` of one picture (of several at once: of all, added up)."""
    peak_bytes: int | None = None
    """Of resident memory, of all processes that took part."""
    processor_seconds: float = 0.0
    """That they took, on all cores."""
    computed: float | None = None
    """Pixels that the network computed for each one that was kept, where it is known."""

    @property
    def rate(self) -> float:
        """Output pixels a second."""
        return self.output_pixels / self.seconds

    @property
    def frugality(self) -> float:
        """Output pixels for a second of a core."""
        return self.output_pixels / self.processor_seconds


class Way(Protocol):
    """Whatever can measure its cases."""

    def measure(self, case: Case) -> Sample:
        """Takes the picture through once, or as many times as there are parties."""


def find(model: str, scale: int) -> Variant:
    """A model that the service would serve, as its settings stand."""
    return Registry.load(model_folders(Settings().models_dir)).find(model, scale)


class Bare:
    """onnxruntime alone, on the tile with which a model makes most output pixels that are kept: what an endless
    picture would get from it. Lives apart, as the others do."""

    def __init__(self, model: str, scale: int) -> None:
        variant = find(model, scale)
        self._scale, self._halo = scale, variant.entry.halo
        self._session = bare_session(variant.read(variant.entry.files.uint8), usable_cpus())
        cost = variant.entry.activation_bytes_per_input_pixel
        self._tiles = {
            edge: np.asarray(photo(edge, edge))[np.newaxis]
            for edge in EDGES
            if edge > 2 * self._halo and (edge == EDGES[0] or edge * edge * cost <= MOST_TILE_BYTES)
        }
        self._best = 0

    def choose(self, rounds: int, seconds: float) -> dict[int, float]:
        """Tile's edge -> kept output pixels a second, the median of ``rounds`` of ``seconds``; the best tile is used
        from now on. Rounds alternate, so that what else the machine does weighs on all."""
        found: dict[int, list[float]] = {edge: [] for edge in self._tiles}
        for _ in range(rounds):
            for edge in self._tiles:
                self._best = edge
                found[edge].append(self.piece(seconds).rate)
        rates = {edge: float(np.median(values)) for edge, values in found.items()}
        self._best = max(rates, key=lambda edge: rates[edge])
        return rates

    def piece(self, seconds: float) -> Sample:
        """Runs the best tile for about ``seconds``; only pixels that are kept count."""
        tile = self._tiles[self._best]
        kept = (self._best - 2 * self._halo) ** 2 * self._scale**2
        runs = 0
        spent = time.process_time()
        began = time.perf_counter()
        while runs == 0 or time.perf_counter() - began < seconds:
            self._session.run(None, {"image": tile})
            runs += 1
        took = time.perf_counter() - began
        return Sample(took, runs * kept, processor_seconds=time.process_time() - spent)

    def tile(self) -> tuple[int, int]:
        """(edge, halo) of the best tile."""
        return self._best, self._halo


class Library:
    """``app.inference.upscale``: pixels to rows of pixels. Lives apart."""

    def __init__(self) -> None:
        settings = Settings()
        self._engine = Engine(
            Registry.load(model_folders(settings.models_dir)),
            platform="cpu",
            threads=settings.threads,
            tile_memory_mb=settings.tile_memory_mb,
        )

    def measure(self, case: Case) -> Sample:
        """Pictures whose pixels are in memory, one after another."""
        picture = Picture(np.asarray(photo(case.width, case.height)), None, "png")
        variant = self._engine.registry.find(case.model, case.scale)
        self._engine.warm(case.model, case.scale)
        taken.forget_peak([os.getpid()])
        spent = time.process_time()
        began = time.perf_counter()
        for _ in range(case.count):
            upscaled = upscale(picture, variant, self._engine)
            for rows in upscaled.bands():
                del rows
        seconds = time.perf_counter() - began
        spent = time.process_time() - spent
        plan = upscaled.plan
        return Sample(
            seconds, case.count * case.output_pixels, {"inference": seconds}, taken.peak([os.getpid()]), spent,
            computed=plan.count * plan.shape[0] * plan.shape[1] / (plan.height * plan.width),
        )  # fmt: skip


class CommandLine:
    """``chetko upscale`` of a JPEG file, from the start of the process to its end."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def measure(self, case: Case) -> Sample:
        with tempfile.TemporaryDirectory(prefix="chetko-bench-") as folder:
            source = Path(folder, "source.jpg")
            source.write_bytes(self._files.jpeg(case))
            command = [
                sys.executable, "-m", "app.cli", "upscale", str(source), "-o", f"{folder}/result.{case.form}", "-v",
                "--format", case.form, "--model", case.model, "--scale", str(case.scale),
            ]  # fmt: skip
            began = time.perf_counter()
            with Path(folder, "told").open("w") as file:
                process = subprocess.Popen(command, stdout=file, env=environment())
                # Not process.wait(), which does not tell what was used.
                _, status, used = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - began
            told = Path(folder, "told").read_text()
        if status != 0:
            raise RuntimeError(f"{' '.join(command)} failed: {told}")
        parts = {name: float(took) for name, took in re.findall(r"(decode|inference|encode) ([\d.]+) s", told)}
        return Sample(seconds, case.output_pixels, parts, used.ru_maxrss * 1024, used.ru_utime + used.ru_stime)


class Service:
    """``POST /v1/upscale`` of JPEG pictures by clients on this machine, who take a little of it too."""

    def __init__(self, running: Running, files: Files) -> None:
        self._running = running
        self._files = files

    def measure(self, case: Case) -> Sample:
        query = f"model={case.model}&scale={case.scale}&format={case.form}"
        pids = taken.with_children([self._running.pid])
        with Apart(Clients, self._running.url, query) as clients:
            taken.forget_peak(pids)
            spent = taken.processor_seconds(pids)
            answers = clients("each", [body_of(self._files.jpeg(case))], case.at_once, case.count)
        bad = {answer.status for answer in answers} - {200}
        if bad:
            raise RuntimeError(f"{case.name}, {case.size}: answered with {bad}")
        spent = taken.processor_seconds(pids) - spent
        parts = {name: sum(answer.parts[name] for answer in answers) for name in ("decode", "inference", "encode")}
        return Sample(span(answers), len(answers) * case.output_pixels, parts, taken.peak(pids), spent)


class Jobs:
    """Jobs by so many workers beside the service, which share the cores."""

    def __init__(self, running: Running, workers: Workers, files: Files) -> None:
        self._running = running
        self._workers = workers
        self._files = files

    def measure(self, case: Case) -> Sample:
        options: dict[str, str | int] = {"model": case.model, "scale": case.scale, "format": case.form}
        body = self._files.jpeg(case)
        count = case.count * case.at_once
        pids = taken.with_children([self._running.pid, *self._workers.pids])
        taken.forget_peak(pids)
        spent = taken.processor_seconds(pids)
        with httpx.Client(base_url=self._running.url, timeout=600) as client:
            began = time.perf_counter()
            jobs = []
            for _ in range(count):
                sent = client.post(
                    "/v1/upscale", params=options, files={"image": body}, headers={"Prefer": "respond-async"}
                )
                jobs.append(sent.raise_for_status().headers["location"])
            for job in jobs:
                _wait(client, job)
            seconds = time.perf_counter() - began
            spent = taken.processor_seconds(pids) - spent
            peak = taken.peak(pids)
            parts = dict.fromkeys(("decode", "inference", "encode"), 0.0)
            for job in jobs:
                took = self._workers.seconds(job.rsplit("/", 1)[1])
                if "strip" in took:
                    parts["decode"] += took["prepare"]
                    parts["inference"] += took["strip"]
                    parts["encode"] += took["assemble"] + took.get("tiles", 0.0)
                else:  # small pictures are done whole, in one task
                    parts["inference"] += took.get("prepare", 0.0)
                client.delete(job).raise_for_status()
        return Sample(seconds, count * case.output_pixels, parts, peak, spent)


def _wait(client: httpx.Client, job: str) -> None:
    """Until the job is done. By its events, since asking again and again would take the service's time."""
    with client.stream("GET", f"{job}/events") as events:
        for _ in events.iter_lines():
            pass  # the last one ends the stream
    document = client.get(job).raise_for_status().json()
    if document["state"] != "succeeded":
        raise RuntimeError(f"{job} is {document['state']}: {document['error']}")


class Files:
    """The pictures of cases as JPEG files, each made once."""

    def __init__(self) -> None:
        self._made: dict[tuple[int, int], bytes] = {}

    def jpeg(self, case: Case) -> bytes:
        size = case.width, case.height
        if size not in self._made:
            self._made[size] = file_of(photo(*size), "jpeg")
        return self._made[size]


@contextmanager
def opened(cases: list[Case]) -> Iterator[dict[tuple[str, int], Way]]:
    """What measures the cases, by way and, for jobs, number of workers; everything runs until the ``with`` ends."""
    wanted = {(case.way, case.at_once if case.way == "jobs" else 1) for case in cases}
    files = Files()
    ways: dict[tuple[str, int], Way] = {}
    with ExitStack() as stack:
        for way, count in sorted(wanted):
            if way == "library":
                ways[way, count] = _InProcess(stack.enter_context(Apart(Library)))
            elif way == "command line":
                ways[way, count] = CommandLine(files)
            elif way == "service":
                ways[way, count] = Service(stack.enter_context(running_service()), files)
            else:
                # A job that was done already would be answered from the cache.
                running = stack.enter_context(running_service(cache_ttl="0"))
                threads = str(max(1, usable_cpus() // count))
                workers = stack.enter_context(running_workers(running, count, threads=threads))
                ways[way, count] = Jobs(running, workers, files)
        yield ways


class _InProcess:
    """A way that lives apart."""

    def __init__(self, apart: Apart) -> None:
        self._apart = apart

    def measure(self, case: Case) -> Sample:
        sample: Sample = self._apart("measure", case)
        return sample
