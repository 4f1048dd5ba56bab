"""A queue server that throws keys away when its memory is full loses jobs: it is refused."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

KEEPS_ALL = "noeviction"

_CONNECT_SECONDS = 2.0


class EvictingQueueError(Exception):
    """The queue server may not be used; the text is the sentence to show."""


class QueueAwayError(Exception):
    """The queue server does not answer, so nothing is known; the text says why."""


def refuse_eviction(url: str) -> None:
    """Looks once, blocking for some seconds at most. Raises EvictingQueueError, or QueueAwayError if there was nobody
    to be asked.
    """
    # No retries: whoever asks decides whether to wait. INFO, because hosted servers forbid CONFIG.
    client: Any = Redis.from_url(
        url,
        socket_connect_timeout=_CONNECT_SECONDS,
        socket_timeout=_CONNECT_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )
    try:
        policy = client.info("memory").get("maxmemory_policy", KEEPS_ALL)
    except (RedisError, OSError) as error:
        raise QueueAwayError(f"The queue server at {place(url)} does not answer ({error}).") from error
    finally:
        client.close()
    if policy != KEEPS_ALL:
        raise EvictingQueueError(
            f"The queue server at {place(url)} throws keys away when its memory is full (maxmemory-policy {policy}), "
            f"and jobs with them: set its maxmemory-policy to {KEEPS_ALL}."
        )


def place(url: str) -> str:
    """The address without user and password, for people."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return parts.path
    return f"{parts.hostname}:{parts.port or 6379}"
