"""What a job is: as it is asked for, as it stands now, and what is told of it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from app.telemetry import traces

State = Literal["queued", "preparing", "running", "assembling", "succeeded", "failed", "cancelled", "expired"]
FINAL_STATES: frozenset[State] = frozenset({"succeeded", "failed", "cancelled", "expired"})
Priority = Literal["interactive", "batch"]

# Parts of the bar: reading the source, the strips, writing the result.
_PREPARED, _COMPUTED = 0.02, 0.9


def new_id() -> str:
    """A job's id: 144 random bits, which is what keeps it from being guessed."""
    return "job_" + secrets.token_urlsafe(18)


@dataclass(frozen=True, slots=True)
class Source:
    """One received picture, as its header describes it."""

    key: str
    """Where it lies in storage."""
    sha256: str
    bytes: int
    name: str | None
    """As the client wrote it: may hold anything."""
    width: int
    height: int
    """Pixels, upright."""
    format: str
    """``png jpeg webp avif tiff bmp gif heic``."""
    media_type: str
    frames: int
    """1, or what an animation has."""
    work: int
    """Pixels that the networks make of it, of all frames together."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """Whom to tell of a job, and of which events (``succeeded``, ``failed`` ...; none means all final ones)."""

    url: str
    events: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Idempotency:
    """What makes two requests one."""

    key: str
    """The header's value."""
    fingerprint: str
    """SHA-256 of the pictures and the options."""
    token: str
    """Whose reservation this is; see ``Jobs.reserve``."""


@dataclass(frozen=True, slots=True)
class NewJob:
    """What is asked for. The sources lie in storage already."""

    id: str
    sources: tuple[Source, ...]
    options: Mapping[str, Any]
    """``Options.to_json()`` without the model."""
    model: str
    """Its name: the default may be another one when a worker comes to it."""
    version: str
    """Of the model."""
    speed: str
    """``speed_name`` of what it goes through."""
    owner: str = ""
    priority: Priority = "interactive"
    batch: bool = False
    """The result is a ZIP, also of a single picture."""
    webhook: Webhook | None = None
    idempotency: Idempotency | None = None
    fresh: bool = False
    """Not to be answered from an earlier result."""
    most_unfinished: int | None = None
    """Jobs that the owner may have unfinished, this one among them; None is no limit."""
    most_stored: int | None = None
    """Bytes of uploads, sources and results that the owner may have, those of this one among them."""


@dataclass(frozen=True, slots=True)
class Result:
    """One finished file."""

    key: str
    """Where it lies in storage."""
    bytes: int
    media_type: str
    extension: str
    """Without the dot."""
    sha256: str
    width: int | None = None
    height: int | None = None
    """None for a ZIP."""
    scale: float | None = None
    """How many times larger than its source; None for a ZIP."""
    model: str | None = None
    """``name/x4@version``; None for a ZIP."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job failed."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it stood when it was read."""

    id: str
    owner: str
    state: State
    version: int
    """Grows by one with every change of the document."""
    epoch: int
    """1, and one more for each time that an operator began it again."""
    priority: Priority
    created: datetime
    started: datetime | None
    finished: datetime | None
    expires: datetime | None
    options: Mapping[str, Any]
    sources: tuple[Source, ...]
    model: str
    model_version: str
    speed: str
    batch: bool
    done: int
    total: int
    """Strips; ``total`` grows until every picture is prepared."""
    unprepared: int
    """Pictures whose strips are not known yet."""
    assembled: float
    """Part of the result that is written, 0..1."""
    home: str
    """Whose folder in storage holds its files."""
    result: Result | None
    error: Failure | None
    notices: tuple[str, ...]
    tiles: Mapping[str, Any] | None
    """Where the tile pyramid lies, and what it is made of; None where there is none."""
    cached: bool
    """Answered from an earlier result."""
    webhook: Webhook | None
    position: int | None = None
    """Jobs ahead; only while queued."""
    seconds_left: float | None = None
    """Estimated from measured speed; None when it is finished or nothing has been measured."""

    @property
    def is_final(self) -> bool:
        return self.state in FINAL_STATES

    @property
    def progress(self) -> float:
        """0..1; never falls while the job is in one epoch and has one picture."""
        if self.state == "succeeded":
            return 1.0
        pictures = len(self.sources)
        prepared = (pictures - self.unprepared) / pictures
        computed = prepared * self.done / self.total if self.total else 0.0
        value = _PREPARED * prepared + (_COMPUTED - _PREPARED) * computed
        if self.state == "assembling":
            value = _COMPUTED + (1 - _COMPUTED) * self.assembled
        return round(value, 4)


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event."""

    id: int
    """The job's version."""
    name: Literal["snapshot", "change", "end"]
    job: Job


@dataclass(frozen=True, slots=True)
class Health:
    """How the queue stands."""

    queue_reachable: bool
    storage_writable: bool
    workers: int
    """Living ones."""
    queued: int
    """Jobs that nobody has begun."""
    active: int
    """Jobs that are not finished, the queued ones among them."""
    oldest_seconds: float | None
    """Age of the oldest unfinished job, while any is queued."""
    running: int
    """Tasks that workers compute now."""
    stored_bytes: int
    """Of sources, results and tiles that jobs keep in storage."""
    problems: tuple[str, ...] = field(default=())
    """Sentences."""


def speed_name(model: str, passes: Sequence[int], version: str) -> str:
    """The name of a speed record: ``fast/x4@1.0.0``, ``fast/x4+x2@1.0.0`` for two passes."""
    return f"{model}/{'+'.join(f'x{scale}' for scale in passes)}@{version}"


def record_of(new: NewJob, *, ttl_ms: int, cache: str, cache_ttl_ms: int, seconds: Sequence[float]) -> dict[str, str]:
    """The fields that a job's record begins with; the script adds state, epoch and times.

    ``seconds``: what each picture is expected to take one worker; its preparation is stamped with a tenth of that.
    """
    prepare = [max(1, round(100 * each)) for each in seconds]
    return {
        "v": "1",
        "owner": new.owner,
        "priority": new.priority,
        "options": json.dumps(dict(new.options), separators=(",", ":")),
        "sources": json.dumps([asdict(source) for source in new.sources], separators=(",", ":")),
        "model": new.model,
        "model_version": new.version,
        "speed": new.speed,
        "pictures": str(len(new.sources)),
        "source_bytes": str(sum(source.bytes for source in new.sources)),
        "batch": str(int(new.batch)),
        "pictures_left": str(len(new.sources)),
        "unprepared": str(len(new.sources)),
        "done": "0",
        "total": "0",
        "costs": json.dumps(prepare),
        "pack_cost": str(len(new.sources) * 50),
        "ttl": str(ttl_ms),
        "cache": cache,
        "cache_ttl": str(cache_ttl_ms),
        "webhook": json.dumps(asdict(new.webhook)) if new.webhook else "",
        "trace": json.dumps(traces.carrier()),
    }


def job_from(
    id: str,  # noqa: A002 - the word of the interface
    record: Mapping[str, str],
    *,
    position: int | None = None,
    seconds_left: float | None = None,
) -> Job:
    """The job that a record describes."""
    state: State = record["state"]  # type: ignore[assignment]  # written by our scripts only
    result = record.get("result")
    error = record.get("error")
    webhook = json.loads(record["webhook"]) if record.get("webhook") else None
    return Job(
        id=id,
        owner=record["owner"],
        state=state,
        version=int(record["version"]),
        epoch=int(record["epoch"]),
        priority=record["priority"],  # type: ignore[arg-type]
        created=_time(record["created"]),
        started=_time_or_none(record.get("started")),
        finished=_time_or_none(record.get("finished")),
        expires=_time_or_none(record.get("expires")),
        options=json.loads(record["options"]),
        sources=tuple(Source(**source) for source in json.loads(record["sources"])),
        model=record["model"],
        model_version=record["model_version"],
        speed=record["speed"],
        batch=record["batch"] == "1",
        done=int(record["done"]),
        total=int(record["total"]),
        unprepared=int(record["unprepared"]),
        assembled=float(record.get("assembled", "0")),
        home=record["home"],
        result=Result(**json.loads(result)) if result and state != "expired" else None,
        error=Failure(**json.loads(error)) if error else None,
        notices=tuple(json.loads(record.get("notices") or "[]")),
        tiles=json.loads(record["tiles"]) if record.get("tiles") else None,
        cached=record.get("cached") == "1",
        webhook=Webhook(webhook["url"], tuple(webhook["events"])) if webhook else None,
        position=position,
        seconds_left=seconds_left,
    )


def _time(milliseconds: str) -> datetime:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)


def _time_or_none(milliseconds: str | None) -> datetime | None:
    return _time(milliseconds) if milliseconds else None
