"""Calls an ASGI application with exactly the messages that a test wants to arrive."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Message


@dataclass
class Answer:
    """What an application sent."""

    messages: list[Message] = field(default_factory=list)
    received: int = 0
    """How many messages the application had taken when it was done."""
    received_before_body: int = 0
    """How many it had taken when the bytes of its answer were complete."""

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode().lower(): value.decode("latin-1") for name, value in self.messages[0]["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages[1:])

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def http_scope(method: str = "GET", target: str = "/", headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    path, _, query = target.partition("?")
    given = {"host": "localhost:8000", **{name.lower(): value for name, value in (headers or {}).items()}}
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }


async def call_async(app: ASGIApp, scope: dict[str, Any], chunks: Iterable[bytes] = ()) -> Answer:
    """``chunks`` are the body; after them nothing arrives any more, as from a client that waits."""
    answer = Answer()
    parts = list(chunks) or [b""]

    async def receive() -> Message:
        if answer.received < len(parts):
            answer.received += 1
            body = parts[answer.received - 1]
            return {"type": "http.request", "body": body, "more_body": answer.received < len(parts)}
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    async def send(message: Message) -> None:
        answer.messages.append(message)
        if message["type"] == "http.response.body" and message.get("body"):
            answer.received_before_body = answer.received

    await app(scope, receive, send)
    return answer


def call(app: ASGIApp, scope: dict[str, Any], chunks: Iterable[bytes] = ()) -> Answer:
    return asyncio.run(call_async(app, scope, chunks))
