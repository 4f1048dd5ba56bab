"""A job as it is told over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from app.jobs import Job
from app.jobs.file_names import result_name
from app.jobs.model import Source

State = Literal["queued", "preparing", "running", "assembling", "succeeded", "failed", "cancelled", "expired"]


class StripsDocument(BaseModel):
    """How much is computed."""

    done: int = Field(ge=0)
    total: int = Field(ge=0, description="0 until the picture was read; grows while a job of several pictures begins.")


class SourceDocument(BaseModel):
    """A picture that was sent."""

    name: str | None = Field(description="As it was sent.")
    width: int = Field(description="Pixels, upright.")
    height: int = Field(description="Pixels, upright.")
    bytes: int
    media_type: str


class ResultDocument(BaseModel):
    """The finished file."""

    width: int | None = Field(description="Pixels; null for a ZIP of several pictures.")
    height: int | None
    bytes: int
    media_type: str
    name: str = Field(description="Under which it is saved.")
    sha256: str = Field(description="Of the file, in hexadecimal; also its ETag.")


class ErrorDocument(BaseModel):
    """Why a job failed."""

    code: str = Field(description="Stable, made for programs; the same codes as in problems.")
    detail: str = Field(description="One or two sentences that say what to change.")


class LinksDocument(BaseModel):
    """Where to go on."""

    self: str
    events: str
    result: str
    tiles: str


class JobDocument(BaseModel):
    """One job as it stands."""

    id: str = Field(examples=["job_b2l0dG1hbm5zdHJhc3NlMT"])
    state: State = Field(description="The last four are final.")
    progress: float = Field(ge=0, le=1)
    strips: StripsDocument
    position: int | None = Field(description="Jobs ahead of it; null once it has begun.")
    seconds_left: float | None = Field(description="Estimated from measured speed; null where nothing is known.")
    created_at: str = Field(examples=["2026-11-25T01:02:03.456Z"])
    started_at: str | None
    finished_at: str | None
    expires_at: str | None = Field(description="When its files go; null until it is finished.")
    options: dict[str, Any] = Field(description="As they hold for this job, defaults filled in.")
    sources: list[SourceDocument]
    result: ResultDocument | None
    error: ErrorDocument | None
    notices: list[str] = Field(description="What to know about the result, such as first-frame-only.")
    links: LinksDocument


class JobList(BaseModel):
    """One page of jobs."""

    jobs: list[JobDocument]
    next: str | None = Field(description="What `cursor` takes for the next page; null on the last one.")


def document_of(job: Job) -> JobDocument:
    """The document of a job."""
    at = f"/v1/jobs/{job.id}"
    return JobDocument(
        id=job.id,
        state=job.state,
        progress=job.progress,
        strips=StripsDocument(done=job.done, total=job.total),
        position=job.position,
        seconds_left=job.seconds_left,
        created_at=_stamp(job.created),
        started_at=None if job.started is None else _stamp(job.started),
        finished_at=None if job.finished is None else _stamp(job.finished),
        expires_at=None if job.expires is None else _stamp(job.expires),
        options={**job.options, "model": job.model},
        sources=[_source(source) for source in job.sources],
        result=_result(job),
        error=None if job.error is None else ErrorDocument(code=job.error.code, detail=job.error.detail),
        notices=list(job.notices),
        links=LinksDocument(self=at, events=f"{at}/events", result=f"{at}/result", tiles=f"{at}/tiles"),
    )


def name_of_result(job: Job) -> str:
    """Under which the result of a succeeded job is saved."""
    assert job.result is not None  # noqa: S101 - asked for succeeded jobs only
    if job.batch or job.result.scale is None:
        return "pictures.zip"
    return result_name(job.sources[0].name, job.result.scale, job.result.extension)


def _source(source: Source) -> SourceDocument:
    return SourceDocument(
        name=source.name, width=source.width, height=source.height, bytes=source.bytes, media_type=source.media_type
    )


def _result(job: Job) -> ResultDocument | None:
    if job.result is None:
        return None
    return ResultDocument(
        width=job.result.width,
        height=job.result.height,
        bytes=job.result.bytes,
        media_type=job.result.media_type,
        name=name_of_result(job),
        sha256=job.result.sha256,
    )


def _stamp(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond // 1000:03d}Z"
