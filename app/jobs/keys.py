"""Every key in Redis, and nothing else spells one: the Lua scripts get these names, too.

All of ours begin with ``{chetko}:``; arq's own begin with ``arq:`` (see its ``constants``). Keys that end with a
colon are prefixes of one key per job, worker or owner. Times are milliseconds of the Redis server's clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from arq.constants import in_progress_key_prefix, job_key_prefix, retry_key_prefix

PREFIX = "{chetko}:"

JOB = PREFIX + "job:"
"""Hash: everything about one job; the fields are listed in docs/jobs.md."""
TASKS = PREFIX + "tasks:"
"""Hash of one job: tasks that are queued or running -> score that they were queued with."""
UNITS = PREFIX + "units:"
"""Set of one job: what is done, such as ``strip.0.17``. A task that runs twice adds nothing the second time."""
HOME = PREFIX + "home:"
"""Set of the jobs whose files lie in one storage folder: more than one when a result answered a second request."""

OWNER = PREFIX + "owner:"
"""Sorted set of one owner's jobs, by creation."""
ALL = PREFIX + "all"
"""Sorted set of all jobs that there is a record of, by creation."""
STORED = PREFIX + "stored-jobs:"
"""Number of one owner: bytes of sources, results and tiles that lie in storage for its jobs: the sum of their fields
``stored``, which change in the same transactions."""
HOMES = PREFIX + "homes"
"""Hash: storage folder of a job -> bytes of its source, result and tiles."""
TOTAL = PREFIX + "stored-total"
"""Number: the sum of ``homes``."""
UNFINISHED = PREFIX + "unfinished:"
"""Set of one owner: its jobs that are not finished."""
UPLOADED = PREFIX + "stored:"
"""Hash of one owner: upload -> ``bytes:expiry`` (Unix time): what places for uploads take of its storage. Written by
``app.api.upload_store``."""
ACTIVE = PREFIX + "active"
"""Sorted set of the jobs that are not finished, by creation."""
WAITING = PREFIX + "waiting"
"""Sorted set of the jobs that nobody has begun, by the score of their first task: a job's rank is its position."""
EXPIRY = PREFIX + "expiry"
"""Sorted set of finished jobs, by the time at which their files go; afterwards by the time their record goes."""
GRAVES = PREFIX + "graves"
"""Sorted set of storage folders to delete, by the time from which on."""

QUEUE = PREFIX + "queue"
"""arq's queue: tasks by score. Scores are virtual finish times (see ``lua/common.lua``), and times where deferred."""
CLOCK = PREFIX + "clock"
"""Hash: priority -> virtual time, in milliseconds of work done; and ``arrivals``, a count."""
RUNNING = PREFIX + "running"
"""Hash: task that a worker has begun -> that worker."""
SUSPECTS = PREFIX + "suspects"
"""Hash: task that arq has marked as running and no worker has begun -> when this was first seen."""
DEATHS = PREFIX + "deaths"
"""Sorted set: ``TASK NUMBER``, the death of a worker on a task, which was its NUMBERth in a row, by its time; of the
last minutes."""
WORKERS = PREFIX + "workers"
"""Sorted set of living workers, by their last heartbeat."""
WORKER = PREFIX + "worker:"
"""String: what one worker tells about itself, as JSON; goes with the worker."""
SPEED = PREFIX + "speed"
"""Hash: ``model/x4@version`` -> measured seconds per output megapixel."""

ARQ_HEALTH = PREFIX + "arq-health:"
"""String per worker that arq keeps for itself; nothing reads it."""

LEASE = PREFIX + "lease"
"""String: the API process that is the janitor now."""
CHANGES = PREFIX + "changes"
"""Channel: ``JOB VERSION`` whenever a job's document changes."""
OUTBOX = PREFIX + "outbox"
"""List of webhook events, as JSON, written in the same transaction as the change that they tell of."""
WEBHOOKS = PREFIX + "webhooks"
"""Sorted set of webhook events that are not delivered, by the time of their next attempt, in seconds."""
WEBHOOK = PREFIX + "webhook:"
"""Hash of one event: url, body, attempts; ``done`` when it is over. Goes after three days."""

IDEMPOTENCY = PREFIX + "idempotency:"
"""String per owner and Idempotency-Key: who receives its picture now, or the job that it made."""
CACHE = PREFIX + "cache:"
"""String per owner (or for all) and content: the finished job that answers the same request again."""

NAMES: Mapping[str, str] = MappingProxyType(
    {
        "job": JOB,
        "tasks": TASKS,
        "units": UNITS,
        "home": HOME,
        "owner": OWNER,
        "all": ALL,
        "stored": STORED,
        "homes": HOMES,
        "total": TOTAL,
        "unfinished": UNFINISHED,
        "uploaded": UPLOADED,
        "active": ACTIVE,
        "waiting": WAITING,
        "expiry": EXPIRY,
        "graves": GRAVES,
        "queue": QUEUE,
        "clock": CLOCK,
        "running": RUNNING,
        "suspects": SUSPECTS,
        "deaths": DEATHS,
        "workers": WORKERS,
        "worker": WORKER,
        "speed": SPEED,
        "lease": LEASE,
        "changes": CHANGES,
        "outbox": OUTBOX,
        "idempotency": IDEMPOTENCY,
        "cache": CACHE,
        "arq_job": job_key_prefix,
        "arq_in_progress": in_progress_key_prefix,
        "arq_retry": retry_key_prefix,
    }
)
"""The same for the scripts, which see them as ``K.job`` and so on."""
