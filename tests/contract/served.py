"""A live service with everything on, for whoever talks to it from outside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.inference.backend import Backend
from app.inference.engine import Engine
from app.inference.enlarge import enlarge
from app.inference.registry import Registry
from app.storage import open_storage
from tests.integration.http.queue import queued
from tests.queue_server import queue_url

KEY = "ck_" + "k" * 43


@contextmanager
def served(folder: Path, registry: Registry, **given: Any) -> Iterator[str]:
    """The address of a service with queue, store and worker, in which every call needs ``KEY``, unless ``given`` says
    otherwise.
    """
    (folder / "key").write_text(KEY)
    storage = open_storage((folder / "store").as_uri())
    engine = Engine(registry, platform="cpu", threads=2)  # the server closes it
    backend = Backend(engine.registry, engine, enlarge)
    settings = {"allow_anonymous": False, "bootstrap_key_file": folder / "key", "data_dir": folder, **given}
    with queue_url() as queue, queued(queue, storage, backend, **settings) as server, server.working():
        yield server.url
