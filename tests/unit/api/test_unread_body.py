"""Answers given before the body was read."""

from __future__ import annotations

import asyncio
import time

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from app.api import unread_body
from app.api.unread_body import UnreadBody
from tests.unit.api.asgi import call, http_scope

REFUSAL = PlainTextResponse("no", status_code=503)
WITH_BODY = {"content-length": "3000"}


async def reading(scope: Scope, receive: Receive, send: Send) -> None:
    body = await Request(scope, receive).body()
    await Response(body)(scope, receive, send)


def test_the_refusal_is_complete_before_the_body_is_touched() -> None:
    answer = call(UnreadBody(REFUSAL), http_scope("POST", headers=WITH_BODY), [b"x" * 1000] * 3)
    assert answer.status == 503
    assert answer.headers["connection"] == "close"
    assert answer.headers["content-length"] == "2"
    assert answer.body == b"no"
    assert answer.received_before_body == 0, "bytes of the body were taken before the answer was out"
    assert answer.received == 3, "the body was not thrown away"
    assert answer.messages[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


def test_a_client_that_sends_nothing_is_waited_for_only_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unread_body, "LINGER_SECONDS", 0.05)

    async def silent() -> list[dict[str, object]]:
        sent: list[dict[str, object]] = []

        async def receive() -> dict[str, object]:
            await asyncio.Event().wait()
            raise AssertionError("unreachable")

        async def send(message: dict[str, object]) -> None:
            sent.append(message)

        await UnreadBody(REFUSAL)(http_scope("POST", headers=WITH_BODY), receive, send)  # type: ignore[arg-type]
        return sent

    began = time.monotonic()
    sent = asyncio.run(silent())
    assert time.monotonic() - began < 1
    assert sent[-1]["more_body"] is False


def test_discarding_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unread_body, "LINGER_BYTES", 5000)
    answer = call(UnreadBody(REFUSAL), http_scope("POST", headers=WITH_BODY), [b"x" * 1000] * 100)
    assert answer.received == 5
    assert answer.messages[-1]["more_body"] is False


@pytest.mark.parametrize("headers", [{}, {"content-length": "0"}])
def test_without_a_body_the_connection_stays(headers: dict[str, str]) -> None:
    answer = call(UnreadBody(REFUSAL), http_scope("POST", headers=headers))
    assert "connection" not in answer.headers
    assert answer.received == 0


def test_a_body_that_was_read_leaves_the_connection_open() -> None:
    answer = call(UnreadBody(reading), http_scope("POST", headers={"content-length": "4"}), [b"ab", b"cd"])
    assert answer.body == b"abcd"
    assert "connection" not in answer.headers


def test_chunked_bodies_count_as_bodies() -> None:
    answer = call(UnreadBody(REFUSAL), http_scope("POST", headers={"transfer-encoding": "chunked"}), [b"x"])
    assert answer.headers["connection"] == "close"
