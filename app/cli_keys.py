"""``chetko keys``: makes, lists and revokes the keys that callers show."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable

from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.api.keys import SCOPES, Key, KeyLimits, KeyStore
from app.jobs.data_folder import DataFolderError
from app.jobs.reach import queue_of
from app.settings import Settings


def manage_keys(options: argparse.Namespace, settings: Settings) -> int:
    """Does what the command line says: 0 done, 1 there is no such key, 2 the keys cannot be reached."""

    async def create(store: KeyStore) -> int:
        limits = KeyLimits(
            options.requests_per_minute,
            options.megapixels_per_minute,
            options.max_concurrent,
            options.storage_mb,
            options.max_jobs,
        )
        key, text = await store.create(options.name, options.scope or SCOPES, limits)
        print(f"{key.id} for {key.name!r} may {', '.join(key.scopes)}. The key, shown this once:", file=sys.stderr)
        print(text)
        return 0

    async def ls(store: KeyStore) -> int:
        keys = await store.list()
        print(_table(keys) if keys else "There is no key.")
        return 0

    async def revoke(store: KeyStore) -> int:
        if await store.revoke(options.id):
            print(f"{options.id} is no longer valid, nor are the sessions opened with it.")
            return 0
        print(f"chetko: there is no key {options.id!r}; `chetko keys ls` lists them", file=sys.stderr)
        return 1

    work = {"create": create, "ls": ls, "revoke": revoke}[options.keys_command]
    try:
        with queue_of(settings) as url:
            return asyncio.run(_with_keys(url, work))
    except DataFolderError as error:
        print(f"chetko: {error}", file=sys.stderr)
    except (RedisError, OSError) as error:
        print(f"chetko: the queue server, which keeps the keys, does not answer: {error}", file=sys.stderr)
    return 2


async def _with_keys(url: str, work: Callable[[KeyStore], Awaitable[int]]) -> int:
    async with Redis.from_url(url, socket_connect_timeout=5, socket_timeout=10) as redis:
        return await work(KeyStore(redis))


def _table(keys: list[Key]) -> str:
    rows = [("ID", "NAME", "MAY", "MADE", "LIMITS OF ITS OWN")]
    for key in keys:
        own = {
            "requests/min": key.limits.requests_per_minute,
            "MP/min": key.limits.megapixels_per_minute,
            "at once": key.limits.max_concurrent,
            "jobs": key.limits.max_jobs,
            "MiB stored": key.limits.storage_mb,
        }
        told = ", ".join(f"{value} {what}" for what, value in own.items() if value is not None)
        rows.append((key.id, key.name, ", ".join(key.scopes), key.created[:10], told or "-"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return "\n".join(
        "  ".join([cell.ljust(width) for cell, width in zip(row, widths, strict=False)] + [row[-1]]) for row in rows
    )
