"""What computes pictures: the models, the engine that runs them, and how a whole picture goes through both.

The service and the worker load it the same way, and follow changes of the model folders the same way.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, Protocol

from app.imaging.decoder import IN_PROCESS, Decoder
from app.imaging.header import Header
from app.inference.cpus import usable_cpus
from app.inference.engine import Engine
from app.inference.enlarge import Limits, Options, Report, enlarge
from app.inference.errors import BrokenModelError
from app.inference.registry import Registry, model_folders
from app.inference.runtime import check_runtime
from app.inference.watch import contents
from app.settings import Settings

_log = logging.getLogger("chetko.models")


class Enlarge(Protocol):
    """``app.inference.enlarge.enlarge``: blocks until ``target`` holds the whole result."""

    def __call__(
        self,
        source: BinaryIO,
        target: BinaryIO,
        options: Options,
        engine: Engine,
        *,
        limits: Limits,
        cancelled: Callable[[], bool],
        header: Header | None,
    ) -> Report: ...


class HasEngine(Protocol):
    """Whoever knows what computes at this moment: asked anew for each piece of work, it follows changed models."""

    @property
    def engine(self) -> Engine: ...

    @property
    def decoder(self) -> Decoder:
        """The same for as long as the engine's device is."""


@dataclass(frozen=True, slots=True)
class Backend:
    """What computes. Made in a thread by ``load_backend``, and made anew when the models change."""

    registry: Registry
    engine: Engine
    enlarge: Enlarge
    decoder: Decoder = IN_PROCESS
    """Reads the pictures; ``enlarge`` has it already. Whoever closes the engine closes it too."""


def load_backend(settings: Settings, present: Backend | None = None) -> Backend:
    """Checks the installation, reads the models and runs each of them once; takes seconds.

    ``present`` is the backend whose place the new one takes: the new one computes on the same device, in the same
    queue, and loads only what changed. Raises InferenceError with the sentence to show when the service cannot work.
    """
    check_runtime()
    folders = model_folders(settings.models_dir)
    while True:
        before = contents(folders)
        try:
            return _load_backend(settings, Registry.load(folders), present)
        except BrokenModelError:
            # A manifest and files that do not fit may be an export's, halfway: then they are about to.
            time.sleep(0.1)
            if contents(folders) == before:
                raise


def _load_backend(settings: Settings, registry: Registry, present: Backend | None) -> Backend:
    _ = registry.default  # there must be one
    if present is not None:
        engine = present.engine.serving(registry)
    else:
        engine = Engine(
            registry,
            platform=settings.platform,
            precision=settings.precision,
            threads=settings.threads,
            tile_memory_mb=settings.tile_memory_mb,
        )
    decoder = present.decoder if present is not None else _open_decoder(settings)
    try:
        for manifest in registry.models():
            for scale in manifest.scales:
                engine.warm(manifest.name, scale)
    except BaseException:
        if present is None:
            engine.close()
            decoder.close()
        raise
    if present is not None:
        _log.info("The models were read again: %s", _differences(present.registry, registry))
    return Backend(registry, engine, partial(enlarge, decoder=decoder), decoder)


def _open_decoder(settings: Settings) -> Decoder:
    """Processes that can be killed, where the system can hand open files to them; the first one is started here."""
    if os.name != "posix":
        return IN_PROCESS
    from app.imaging.decode_pool import DecodePool  # noqa: PLC0415 - not on Windows

    pool = DecodePool(
        size=settings.max_active_pictures or usable_cpus() + 1,
        seconds=settings.decode_seconds,
        memory_mb=settings.decode_memory_mb,
    )
    pool.warm()
    return pool


def _differences(before: Registry, after: Registry) -> str:
    old, new = ({manifest.name: manifest for manifest in registry.models()} for registry in (before, after))
    told = [f"{name} is new" for name in new if name not in old]
    told += [f"{name} changed" for name in new if name in old and new[name] != old[name]]
    told += [f"{name} is gone" for name in old if name not in new]
    return ", ".join(told) or "they are the same"
