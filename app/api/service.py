"""The state of one running service, and the way from the event loop to the compute threads and back."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal, TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisError
from starlette.requests import Request
from starlette.types import Receive

from app.api.admission import Admission
from app.api.callers import Access, CannotStartError
from app.api.job_document import document_of
from app.api.problems import ClientGoneProblem, UnavailableProblem
from app.api.secret_key import check_secret, secret_key
from app.api.share_links import ShareLinks
from app.api.upload import UploadLimits
from app.api.upload_store import UploadStore
from app.imaging.decoder import Decoder
from app.imaging.header import Header
from app.inference.backend import Backend
from app.inference.cpus import usable_cpus
from app.inference.enlarge import Limits, Options, Report
from app.inference.errors import BrokenModelError, DeviceLostError, InferenceError
from app.inference.heap import return_freed_memory
from app.inference.lpips import Lpips
from app.inference.registry import Registry
from app.inference.watch import ModelWatch
from app.jobs import Jobs
from app.settings import Settings
from app.storage import Storage, StorageError
from app.telemetry import traces

COMPUTE_NICENESS = 5
"""How far compute threads stand back behind the event loop's thread: they have seconds, it has milliseconds.

On two busy cores with 64 clients this halves the 99th percentile of ``/livez`` (10 ms instead of 20 ms).
"""

T = TypeVar("T")

_log = logging.getLogger("chetko.service")


@dataclass(frozen=True, slots=True)
class Finished:
    """What came of one picture."""

    report: Report
    queue_seconds: float
    """How long it waited for a compute thread."""


class Service:
    """Everything that the routes share. Its methods belong to the event loop's thread and never compute."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.state: Literal["starting", "ready", "draining", "failed"] = "starting"
        self.failure: Exception | None = None
        """Why the state is ``failed``."""
        self.active = settings.max_active_pictures or usable_cpus() + 1
        self.admission = Admission(
            max_requests=settings.max_requests, max_uploads=settings.max_uploads, active=self.active
        )
        self.disk = ThreadPoolExecutor(4, thread_name_prefix="chetko-disk")
        self._compute = ThreadPoolExecutor(self.active, thread_name_prefix="chetko-compute", initializer=_stand_back)
        self._models = ThreadPoolExecutor(1, thread_name_prefix="chetko-models", initializer=_stand_back)
        self._backend: Backend | None = None
        self.device_lost: str | None = None
        """Set when a picture found the device gone: no other can be tried in this process."""
        self.redis: Redis | None = None
        """The queue server: None without one, and then there are no keys, uploads or jobs."""
        self.storage: Storage | None = None
        self.uploads: UploadStore | None = None
        self.jobs: Jobs | None = None
        self.access = Access(settings, None)
        """Keys, sessions and limits."""
        self._share_links: ShareLinks | None = None
        self._lpips: Lpips | None = None
        self._lpips_known = False
        self.settled = asyncio.Event()
        """Set when the first loading has ended, however it did."""
        self.reload_asked = asyncio.Event()
        """Set by whoever wants the models to be read again now."""

    @property
    def backend(self) -> Backend:
        """What computes; raises ``UnavailableProblem`` while there is none, or none for new pictures."""
        if self.state == "draining":
            raise UnavailableProblem(
                "The service is stopping and takes no more pictures. Try again in 5 seconds.",
                code="draining",
                retry_after=5,
            )
        if self._backend is None or self.state != "ready":
            raise UnavailableProblem(
                "The models are not loaded yet. Try again in 2 seconds.", code="not_ready", retry_after=2
            )
        if self.device_lost is not None:
            raise UnavailableProblem(f"{self.device_lost} Try again in 10 seconds.", code="device_lost", retry_after=10)
        return self._backend

    @property
    def takes_pictures(self) -> bool:
        """Whether ``backend`` is there for new pictures."""
        return self.state == "ready" and self._backend is not None and self.device_lost is None

    @property
    def registry(self) -> Registry:
        """The models; raises ``UnavailableProblem`` while they are not loaded."""
        return self.backend.registry if self._backend is None else self._backend.registry

    @property
    def decoder(self) -> Decoder:
        """Reads pictures; raises ``UnavailableProblem`` while the models are not loaded."""
        return self.backend.decoder if self._backend is None else self._backend.decoder

    def _read_header(self, file: BinaryIO) -> Header:
        return self.decoder.read_header(file)  # the models may be loaded later than the queue is known

    async def lpips(self) -> Lpips | None:
        """Measures LPIPS; read when the first evaluation needs it, None where its file is not installed."""
        if not self._lpips_known:
            self._lpips = await asyncio.get_running_loop().run_in_executor(self._models, _load_lpips)
            self._lpips_known = True
        return self._lpips

    async def share_links(self) -> ShareLinks:
        """What signs links; its secret is made or read when the first link is asked for."""
        if self._share_links is None:
            self._share_links = ShareLinks(await asyncio.to_thread(secret_key, self.settings))
        return self._share_links

    def tiles_waiting(self) -> int:
        """Tiles that wait for the device; safe to ask from any thread."""
        return 0 if self._backend is None else self._backend.engine.queue_length()

    @property
    def upload_limits(self) -> UploadLimits:
        """What one upload may take."""
        return UploadLimits(
            max_body_bytes=self.settings.max_body_bytes,
            idle_seconds=self.settings.receive_idle_seconds,
            min_bytes_per_second=self.settings.receive_min_bytes_per_second,
        )

    def use_queue(self, redis: Redis, storage: Storage | None) -> None:
        """Gives the service its queue server and its store, before ``start``; closing them stays the caller's."""
        self.redis = redis
        self.storage = storage
        self.access = Access(self.settings, redis)
        if storage is not None:
            self.uploads = UploadStore(redis, storage, seconds=self.settings.upload_hours * 3600)
            self.jobs = Jobs(
                redis,
                storage,
                self.settings,
                read_header=self._read_header,
                document=lambda job: document_of(job).model_dump(),
            )

    async def sweep_uploads(self, *, every_seconds: float = 60.0) -> None:
        """Removes expired uploads, for as long as the service runs."""
        while self.uploads is not None:
            await asyncio.sleep(every_seconds)
            try:
                while await self.uploads.sweep(asyncio.to_thread):
                    pass
            except (RedisError, OSError, StorageError) as error:
                _log.warning("Expired uploads could not be removed: %s", error)

    async def start(self, load: Callable[[], Backend]) -> None:
        """Checks who may call, then loads and warms the models in a thread; then the state is ``ready``, or ``failed``
        with ``failure``.
        """
        try:
            check_secret(self.settings)
            await self.access.check_start()
            self._backend = await asyncio.get_running_loop().run_in_executor(self._models, load)
        except Exception as error:
            self.state, self.failure = "failed", error
            # Those are sentences, for whoever waits for ``settled`` to tell.
            if not isinstance(error, InferenceError | CannotStartError):
                _log.exception("The service cannot start")
        else:
            if self.state == "starting":
                self.state = "ready"
        finally:
            self.settled.set()

    async def follow_models(
        self, watch: ModelWatch, load: Callable[[Backend], Backend], *, every_seconds: float
    ) -> None:
        """Once ready, reads the models again whenever ``reload_asked`` is set or ``watch`` says that they changed.

        ``every_seconds``: between two looks; 0 never looks. Looking and loading happen in a thread of their own.
        Pictures that are in when the models are exchanged finish on those that they began with. What cannot be
        loaded is told in the log once, and the models that are there stay.
        """
        run = asyncio.get_running_loop().run_in_executor
        await self.settled.wait()
        while self._backend is not None and self.state == "ready":
            with suppress(TimeoutError):
                await asyncio.wait_for(self.reload_asked.wait(), every_seconds or None)
            if self.reload_asked.is_set():
                self.reload_asked.clear()
                await run(self._models, watch.look)
            elif not await run(self._models, watch.changed):
                continue
            try:
                self._backend = await run(self._models, load, self._backend)
            except InferenceError as error:
                _log.error("The models were not read again, those that are loaded stay: %s", error)
            except Exception:
                _log.exception("The models were not read again, those that are loaded stay")
            await run(self._models, return_freed_memory)

    def drain(self) -> None:
        """From now on new pictures are refused; those that are in finish."""
        self.state = "draining"

    def close(self) -> None:
        """Blocks until all threads have ended."""
        self._compute.shutdown(wait=True, cancel_futures=True)
        self.disk.shutdown(wait=True, cancel_futures=True)
        if self._backend is not None:
            self._backend.engine.close()  # which also ends a warming up that is under way
            self._backend.decoder.close()
        self._models.shutdown(wait=True, cancel_futures=True)

    async def enlarge(
        self,
        backend: Backend,
        source: BinaryIO,
        target: BinaryIO,
        options: Options,
        receive: Receive,
        *,
        header: Header | None = None,
    ) -> Finished:
        """Runs one picture on a compute thread, waiting for one if need be. ``header``: the picture's, if it was read.

        ``backend`` was asked for when the request was admitted: a picture that is in is finished, also while draining.
        ``receive`` must have given the whole body already: it is watched for the client going away, which
        takes the picture out of the queue or stops it at the next tile, and raises ``ClientGoneProblem``.
        When this returns or raises, no thread touches ``source`` or ``target`` any more; only a cancelled
        task (shutdown) does not wait.
        """
        limits = Limits(
            max_input_pixels=self.settings.max_input_pixels,
            max_output_pixels=self.settings.sync_max_output_pixels,
            max_frames=self.settings.max_frames,
        )

        def work(cancelled: Callable[[], bool]) -> Report:
            return backend.enlarge(
                source, target, options, backend.engine, limits=limits, cancelled=cancelled, header=header
            )

        return Finished(*await self.compute(work, receive))

    async def compute(self, work: Callable[[Callable[[], bool]], T], receive: Receive) -> tuple[T, float]:
        """Runs ``work`` on a compute thread as ``enlarge`` does; gives its answer and how long it waited for a thread.

        ``work`` gets the question whether it is still wanted, to be asked every now and then.
        """
        cancelled = threading.Event()
        queued = time.perf_counter()

        def timed() -> tuple[T, float, float]:
            began = time.perf_counter()
            with traces.span("picture"):
                answer = work(cancelled.is_set)
            return answer, began - queued, time.perf_counter() - began

        job = self._compute.submit(copy_context().run, timed)  # ids and trace go along
        result = asyncio.wrap_future(job)
        gone = asyncio.ensure_future(disconnected(receive))
        try:
            both: set[asyncio.Future[Any]] = {result, gone}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not result.done():
                cancelled.set()
                job.cancel()  # takes it out of the queue if it has not begun
                await asyncio.wait({result})
                result.cancelled() or result.exception()
                raise ClientGoneProblem("The client went away while its picture was waiting or being enlarged.")
        finally:
            # Reached with a running job only when this task itself is cancelled; nobody asks then how the job ended.
            cancelled.set()
            gone.cancel()
            result.add_done_callback(lambda job: job.cancelled() or job.exception())
        try:
            answer, queue_seconds, busy_seconds = result.result()
        except DeviceLostError as error:
            if self.device_lost is None:
                _log.error("No more pictures are taken: %s", error)
            self.device_lost = "The GPU of this process no longer answers; it must be started anew."
            raise
        self.admission.note(busy_seconds)
        return answer, queue_seconds


def _load_lpips() -> Lpips | None:
    try:
        return Lpips.load()
    except BrokenModelError as error:
        _log.warning("Evaluations do without LPIPS: %s", error)
        return None


def service_of(request: Request) -> Service:
    """The service that a request belongs to."""
    service = request.app.state.service
    assert isinstance(service, Service)  # noqa: S101 - put there by build_application
    return service


async def disconnected(receive: Receive) -> None:
    """Returns when the client has gone away; ``receive`` has given the whole body already."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _stand_back() -> None:
    """Lowers the calling thread's priority; threads that it starts (onnxruntime's) inherit this."""
    if sys.platform == "linux":  # elsewhere the call would lower the whole process
        # From where it stands: a service that was itself started with nice(1) may not come forward again.
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + COMPUTE_NICENESS)
