"""``chetko jobs``: what operators see of jobs, and do about them."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime

from app.api.job_document import document_of
from app.jobs import Job, Jobs, QueueUnavailableError, open_redis
from app.jobs.data_folder import DataFolderError
from app.jobs.reach import queue_of
from app.settings import Settings
from app.storage import StorageError, storage_of

_PAGE = 100


def manage_jobs(options: argparse.Namespace, settings: Settings) -> int:
    """Does what the command line says: 0 done, 1 there is no such job or it cannot be done to it, 2 the queue cannot
    be reached."""

    async def ls(jobs: Jobs) -> int:
        rows = []
        async for job in _all(jobs):
            if options.state in (None, job.state) and (options.owner is None or job.owner == options.owner):
                rows.append(job)
                if len(rows) == options.limit:
                    break
        if options.json:
            print(json.dumps([_described(job) for job in rows], ensure_ascii=False, indent=2))
        else:
            print(_table(rows) if rows else "There is no job.")
        return 0

    async def show(jobs: Jobs) -> int:
        job = await jobs.get(options.id)
        if job is None:
            return _unknown(options.id)
        print(json.dumps(_described(job), ensure_ascii=False, indent=2))
        return 0

    async def cancel(jobs: Jobs) -> int:
        job = await jobs.get(options.id)
        if job is None:
            return _unknown(options.id)
        await jobs.cancel(options.id)
        if job.is_final:
            print(f"chetko: {options.id} has ended before: it is {job.state}", file=sys.stderr)
            return 1
        print(f"{options.id} is cancelled.")
        return 0

    async def retry(jobs: Jobs) -> int:
        state = await jobs.retry(options.id)
        if not state:
            return _unknown(options.id)
        if state != "failed":
            print(f"chetko: {options.id} is {state}; only failed jobs can be begun again", file=sys.stderr)
            return 1
        print(f"{options.id} is queued again.")
        return 0

    async def purge(jobs: Jobs) -> int:
        chosen = [
            job.id
            async for job in _all(jobs)
            if job.is_final
            and options.state in (None, job.state)
            and job.finished is not None
            and (datetime.now(UTC) - job.finished).total_seconds() >= options.older_than * 3600
        ]
        for id in chosen:  # noqa: A001 - the word of the interface
            await jobs.cancel(id, remove=True)
        # A running service does that, too; without one nobody would.
        await jobs.dig()
        print(f"{len(chosen)} finished jobs are removed, with their files.")
        return 0

    work = {"ls": ls, "show": show, "cancel": cancel, "retry": retry, "purge": purge}[options.jobs_command]
    try:
        with queue_of(settings) as url:
            return asyncio.run(_with_jobs(url, settings, work))
    except DataFolderError as error:
        print(f"chetko: {error}", file=sys.stderr)
    except QueueUnavailableError:
        print("chetko: the queue server, which keeps the jobs, does not answer", file=sys.stderr)
    except StorageError as error:
        print(f"chetko: {error.message}", file=sys.stderr)
    return 2


async def _with_jobs(url: str, settings: Settings, work: Callable[[Jobs], Awaitable[int]]) -> int:
    redis = open_redis(url)
    try:
        return await work(Jobs(redis, storage_of(settings), settings))
    finally:
        await redis.aclose()


async def _all(jobs: Jobs) -> AsyncIterator[Job]:
    cursor = None
    while True:
        page, cursor = await jobs.list_all(cursor=cursor, limit=_PAGE)
        for job in page:
            yield job
        if cursor is None:
            return


def _described(job: Job) -> dict[str, object]:
    return {"owner": job.owner, "priority": job.priority, "epoch": job.epoch, **document_of(job).model_dump()}


def _unknown(id: str) -> int:  # noqa: A002 - the word of the interface
    print(f"chetko: there is no job {id!r}; `chetko jobs ls` lists them", file=sys.stderr)
    return 1


def _table(jobs: list[Job]) -> str:
    rows = [("JOB", "STATE", "DONE", "CREATED", "OWNER", "WHAT")]
    for job in jobs:
        first = job.sources[0]
        what = f"{first.width} x {first.height} {first.format}"
        if len(job.sources) > 1:
            what = f"{len(job.sources)} pictures"
        if job.error is not None:
            what += f": {job.error.code}"
        created = job.created.strftime("%Y-%m-%d %H:%M:%S")
        rows.append((job.id, job.state, f"{job.progress:.0%}", created, job.owner or "-", what))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return "\n".join(
        "  ".join([cell.ljust(width) for cell, width in zip(row, widths, strict=False)] + [row[-1]]) for row in rows
    )
