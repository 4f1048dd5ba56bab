"""From received pictures to a job: what ``POST /v1/upscale`` and ``POST /v1/jobs`` have in common."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, BinaryIO

from starlette.datastructures import Headers
from starlette.requests import Request

from app.api.callers import caller_of, charge_pixels
from app.api.options import UpscaleQuery
from app.api.problems import InvalidOptionProblem, UnavailableProblem
from app.api.service import Service
from app.imaging.decode import check_pixels
from app.inference.course import plot_course
from app.inference.manifest import Manifest
from app.inference.options import Limits
from app.inference.registry import Registry
from app.inference.result import check_header, output_frames
from app.jobs import Idempotency, Job, Jobs, JobsError, NewJob, QueueUnavailableError, Webhook, new_id, speed_name
from app.jobs.model import Priority
from app.storage import StorageError

IDEMPOTENCY = "idempotency-key"
_RENEW_SECONDS = 10.0
MAX_KEY = 255


@dataclass(frozen=True, slots=True)
class Received:
    """One picture that is here, and what it is called."""

    file: BinaryIO
    name: str | None


@dataclass(frozen=True, slots=True)
class Looked:
    """What the headers of a request's pictures say."""

    model: Manifest
    speed: str
    """``speed_name`` of the first one's course."""
    work: tuple[int, ...]
    """Pixels that the networks make of each picture."""
    output_pixels: int
    """Of all results together."""


def jobs_of(service: Service) -> Jobs:
    """The jobs of a service; raises the problem of one that has no queue."""
    if service.jobs is None:
        raise UnavailableProblem(
            "This service runs without a queue and makes no jobs.", code="queue_unavailable", retry_after=60
        )
    return service.jobs


def options_of(query: UpscaleQuery) -> dict[str, Any]:
    """The options as they hold for a job and as its fingerprint has them: the model is kept beside them."""
    return {name: value for name, value in query.options().to_json().items() if name not in ("model", "tile")}


async def look(service: Service, files: Sequence[BinaryIO], query: UpscaleQuery, registry: Registry) -> Looked:
    """Reads the headers and refuses what they show to be wrong: see ``check_header`` and ``plot_course``."""
    settings = service.settings
    limits = Limits(settings.max_input_pixels, None, settings.max_frames)
    options, decoder = query.options(), service.decoder

    def read() -> Looked:
        courses, work, pixels = [], [], 0
        for file in files:
            file.seek(0)
            header = decoder.read_header(file)
            check_pixels(header.width, header.height, limits.max_input_pixels)
            course = plot_course(options, registry, header.width, header.height)
            check_header(header, course, options, limits)
            courses.append(course)
            width, height = course.enlarged
            frames = output_frames(header, options)
            work.append(width * height * frames)
            pixels += course.width * course.height * frames
        manifest = courses[0].variants[0].manifest
        passes = [variant.scale for variant in courses[0].variants]
        return Looked(manifest, speed_name(manifest.name, passes, manifest.version), tuple(work), pixels)

    return await asyncio.get_running_loop().run_in_executor(service.disk, read)


@asynccontextmanager
async def reserved(service: Service, request: Request) -> AsyncIterator[tuple[str, str] | None]:
    """Holds the request's Idempotency-Key while its pictures are received: (key, token), or None without one.

    Raises InvalidOptionProblem for a key that is none, and IdempotencyBusyError while another request holds it.
    """
    given = request.headers.get(IDEMPOTENCY)
    if given is None:
        yield None
        return
    key = given.strip().strip('"')
    if not key or len(key) > MAX_KEY:
        raise InvalidOptionProblem(f"Idempotency-Key must have 1 to {MAX_KEY} characters; a UUID is a good one.")
    jobs, owner = jobs_of(service), caller_of(request).owner
    token = await jobs.reserve(owner, key)
    renewing = asyncio.create_task(_renew(jobs, owner, key, token))
    try:
        yield key, token
    finally:
        renewing.cancel()
        with suppress(JobsError):  # then it frees itself
            await asyncio.shield(jobs.release(owner, key, token))


async def _renew(jobs: Jobs, owner: str, key: str, token: str) -> None:
    while True:
        await asyncio.sleep(_RENEW_SECONDS)
        with suppress(JobsError):
            await jobs.keep_reserved(owner, key, token)


async def submit(
    service: Service,
    request: Request,
    received: Sequence[Received],
    looked: Looked,
    *,
    query: UpscaleQuery,
    reservation: tuple[str, str] | None,
    priority: Priority = "interactive",
    batch: bool = False,
    webhook: Webhook | None = None,
) -> Job:
    """Stores the pictures and makes the job. Nothing of it stays when a problem is raised."""
    jobs, caller = jobs_of(service), caller_of(request)
    await charge_pixels(request, looked.output_pixels)
    options = options_of(query)
    model = looked.model.name
    id = new_id()  # noqa: A001 - the word of the interface
    try:
        sources = [
            await jobs.stage(id, number, picture.file, name=picture.name, work=looked.work[number])
            for number, picture in enumerate(received)
        ]
        idempotency = None
        if reservation is not None:
            what = [[source.sha256 for source in sources], options, model]
            fingerprint = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
            idempotency = Idempotency(reservation[0], fingerprint, reservation[1])
        return await jobs.submit(
            NewJob(
                id,
                tuple(sources),
                options,
                model,
                looked.model.version,
                looked.speed,
                owner=caller.owner,
                priority=priority,
                batch=batch,
                webhook=webhook,
                idempotency=idempotency,
                fresh=wants_fresh(request.headers),
                most_unfinished=caller.max_jobs,
                most_stored=caller.storage_bytes,
            )
        )
    except QueueUnavailableError:
        # The job may have been made all the same, so its files stay; the orphan sweep removes them if it was not.
        raise
    except BaseException:
        with suppress(StorageError):
            await asyncio.shield(jobs.unstage(id))
        raise


def wants_fresh(headers: Headers) -> bool:
    """Whether the request asks not to be answered from an earlier result."""
    return any(part.strip().lower() == "no-cache" for part in headers.get("cache-control", "").split(","))
