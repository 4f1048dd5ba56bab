"""What is computed for each kind of task. Blocks; knows storage and pixels, not the queue."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from app.inference.backend import HasEngine
from app.inference.enlarge import Limits, Options, enlarge
from app.jobs import places
from app.jobs.hashing import HashingWriter
from app.jobs.model import Job
from app.jobs.tasks import Task
from app.jobs.verdict import ModelChangedError
from app.settings import Settings
from app.storage import Storage


class Work:
    """The hands of one worker."""

    def __init__(self, storage: Storage, backend: HasEngine, settings: Settings) -> None:
        self._storage = storage
        self._backend = backend
        self._settings = settings
        self.device = str(backend.engine.device.name)

    def close(self) -> None:
        """Gives back what was kept between tasks."""

    def do(
        self,
        job: Job,
        task: Task,
        record: Mapping[str, str],  # noqa: ARG002
        cancelled: Callable[[], bool],
        progress: Callable[[float], None],  # noqa: ARG002
    ) -> dict[str, Any]:
        """What came of the task, for ``complete``. Raises what ``judge`` knows, and UpscaleCancelledError."""
        options = Options(**{**job.options, "model": job.model})
        variant = self._backend.engine.registry.find(options.model, options.scale)
        if variant.manifest.version != job.model_version:
            raise ModelChangedError
        target = places.result(job.home)
        with self._storage.open(job.sources[task.picture].key) as source, self._storage.seekable_writer(target) as out:
            hashing = HashingWriter(out)
            report = enlarge(
                source, hashing, options, self._backend.engine, limits=Limits(None, None), cancelled=cancelled
            )
            sha = hashing.sha256()
            size = out.commit()
        return {
            "result": json.dumps(
                {
                    "bytes": size,
                    "media_type": report.media_type,
                    "extension": report.extension,
                    "sha256": sha,
                    "width": report.width,
                    "height": report.height,
                    "model": f"{report.model}/x{report.scale}@{report.version}",
                }
            ),
            "notices": json.dumps(list(report.notices)),
        }
