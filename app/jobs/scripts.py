"""The transactions of the queue: Lua scripts, so that every change of a job happens whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from app.jobs.keys import NAMES

FOLDER = Path(__file__).parent / "lua"

MESSAGE_VERSION = 1
"""Of what stands in a task's message; a worker leaves versions that it does not know to others."""

DAY_MS = 24 * 3600 * 1000

CONSTANTS: Mapping[str, Any] = {
    "message_version": MESSAGE_VERSION,
    # What is lost is queued again by the janitor; this only keeps arq from failing a task as "expired" after a day.
    "task_life_ms": 30 * DAY_MS,
    "record_life_ms": 30 * DAY_MS,
    "worker_life_ms": 60_000,
    "tombstone_ms": DAY_MS,
    "base": {"interactive": 1, "batch": 500_000_000_000},
    "virtual_end": 1_000_000_000_000,
    # A picture that kills workers kills them alone. Where others die meanwhile, too, the deaths say little about it,
    # but a crowd of such pictures must not go on for ever.
    "most_deaths": 3,
    "most_deaths_among_others": 10,
    "deaths_remembered_ms": 600_000,
    "most_recounted": 50_000,
    "set_aside": "A worker died several times in a row while it computed this picture, so the picture was set aside. "
    "Try it at a smaller scale, save it anew in another format, or report it to the operator.",
}
"""What the scripts see as ``C``. Interactive stamps lie above 0 and below 5e11, batch stamps below 1e12; the time in
milliseconds is 1.7e12 and more."""


class Scripts:
    """All scripts, bound to a connection pool. Answers are text, numbers and lists of them."""

    def __init__(self, redis: Redis) -> None:
        head = f"local K = {_lua(NAMES)}\nlocal C = {_lua(CONSTANTS)}\n" + (FOLDER / "common.lua").read_text("utf-8")
        self._scripts = {
            path.stem: redis.register_script(head + "\n" + path.read_text("utf-8"))
            for path in sorted(FOLDER.glob("*.lua"))
            if path.stem != "common"
        }

    async def __call__(self, name: str, *arguments: str | float) -> Any:
        """Runs the script ``name``.lua; raises RedisError where the server does not answer."""
        return _text(await self._scripts[name](args=list(arguments)))


def _text(answer: Any) -> Any:
    if isinstance(answer, bytes):
        return answer.decode()
    if isinstance(answer, list):
        return [_text(each) for each in answer]
    return answer


def _lua(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"[{_lua(name)}] = {_lua(each)}" for name, each in value.items()) + "}"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(value)
