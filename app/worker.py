"""``chetko worker``: the life of a worker process, from its settings to its exit code."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from app.imaging.decoder import Decoder
from app.inference.backend import Backend, load_backend
from app.inference.engine import Engine
from app.inference.errors import InferenceError
from app.inference.heap import return_freed_memory
from app.inference.registry import model_folders
from app.inference.watch import ModelWatch
from app.jobs.data_folder import note_in
from app.jobs.eviction import EvictingQueueError, QueueAwayError, refuse_eviction
from app.jobs.worker import run_worker
from app.settings import Settings
from app.telemetry import logs, traces
from app.telemetry.exposition import Exposition, shown_by_parent

QUEUE_POLL_SECONDS = 1.0

_log = logging.getLogger("chetko.worker")
_models_log = logging.getLogger("chetko.models")


def work(settings: Settings) -> int:
    """Works until SIGTERM or SIGINT and gives the process's exit code, having told on standard error why it failed:
    0 stopped, 1 cannot have its port for metrics, 2 there is no queue, one that may not be used, or the models cannot
    be loaded.

    A strip that is being computed when the signal comes gets ``drain_seconds`` to be finished; a second signal gives
    it back to the queue at once. A queue that does not answer is waited for.
    """
    _name_process()
    logs.configure(settings.log_level, settings.log_format)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop_loading)
    try:
        if settings.traces_url is not None:
            traces.configure(settings.traces_url, "worker")
        if settings.redis_url is None:
            settings = settings.model_copy(update={"redis_url": _queue_of_serve(settings.data_dir)})
        assert settings.redis_url is not None  # noqa: S101 - for mypy
        _wait_for_queue(settings.redis_url)
        backend = FollowedBackend(settings)
        exposition = _expose(settings)
    except OSError as error:
        logs.complain(
            f"Port {settings.metrics_port} of {settings.host} cannot be had for metrics ({error.strerror or error}): "
            "set CHETKO_METRICS_PORT to another one.",
            settings.log_format,
        )
        return 1
    except (InferenceError, EvictingQueueError, traces.TracesUnavailableError, _NoQueueError) as error:
        logs.complain(str(error), settings.log_format)
        return 2
    try:
        with backend.followed():
            return run_worker(settings, backend)
    finally:
        if exposition is not None:
            exposition.close()
        backend.close()
        traces.shutdown()


def _expose(settings: Settings) -> Exposition | None:
    """The port for Prometheus, which also tells a cluster that the models are loaded. None for the worker of a
    ``chetko serve``, which shows its worker's numbers beside its own. Raises OSError."""
    if settings.metrics_port is None or shown_by_parent():
        return None
    return Exposition(settings.host, settings.metrics_port)


class FollowedBackend:
    """What computes, exchanged when the models change. A strip that is being computed when that happens finishes on
    the models that it began with.
    """

    def __init__(self, settings: Settings) -> None:
        """Loads the models; takes seconds. Raises InferenceError."""
        self._settings = settings
        self._watch = ModelWatch(model_folders(settings.models_dir))  # before they are read
        self._asked = threading.Event()
        self._ended = False
        self._present = load_backend(settings)

    @property
    def engine(self) -> Engine:
        return self._present.engine

    @property
    def decoder(self) -> Decoder:
        return self._present.decoder

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Within, SIGHUP and changed model folders have the models read again, in a thread."""
        if hasattr(signal, "SIGHUP"):  # Windows has none
            signal.signal(signal.SIGHUP, lambda *_: self._asked.set())
        thread = threading.Thread(target=self._follow, name="chetko-models", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended = True
            self._asked.set()
            thread.join()

    def close(self) -> None:
        self._present.engine.close()
        self._present.decoder.close()

    def _follow(self) -> None:
        while True:
            asked = self._asked.wait(self._settings.models_poll_seconds or None)
            self._asked.clear()
            if self._ended:
                return
            if asked:
                self._watch.look()
            elif not self._watch.changed():
                continue
            try:
                self._present = self._reloaded()
            except InferenceError as error:
                _models_log.error("The models were not read again, those that are loaded stay: %s", error)
            except Exception:
                _models_log.exception("The models were not read again, those that are loaded stay")
            return_freed_memory()

    def _reloaded(self) -> Backend:
        return load_backend(self._settings, self._present)


class _NoQueueError(Exception):
    pass


def _queue_of_serve(folder: Path) -> str:
    """The queue of the ``chetko serve`` that holds this data folder."""
    note = note_in(folder)
    if note is None or note.queue_url is None or not note.holder.alive():
        raise _NoQueueError(
            f"There is no queue: set CHETKO_REDIS_URL, or start chetko serve, which brings one in {folder}."
        )
    return note.queue_url


def _wait_for_queue(url: str) -> None:
    told = False
    while True:
        try:
            refuse_eviction(url)
        except QueueAwayError as error:
            if not told:
                _log.warning("%s The worker waits for it.", error)
            told = True
            time.sleep(QUEUE_POLL_SECONDS)
        else:
            return


def _stop_loading(*_: object) -> NoReturn:
    """The answer to a signal before any work was taken: there is nothing to finish."""
    raise SystemExit(0)


def _name_process() -> None:
    """Has ``ps`` and ``top`` show this process under a name of its own; its command line is python's."""
    if sys.platform == "linux":
        with suppress(OSError):
            Path("/proc/self/comm").write_text("chetko worker")
