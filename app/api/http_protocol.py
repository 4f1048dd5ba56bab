"""uvicorn's HTTP protocol with bounds on a request's head, which it does not have by itself."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.api.problems import MEDIA_TYPE, HeadTooLargeProblem, MalformedRequestProblem, Problem

MAX_HEAD_BYTES = 64 * 1024
HEAD_SECONDS = 15.0


class BoundedHttpProtocol(HttpToolsProtocol):
    """Guarantees: a connection on which no whole request line and headers arrive within ``HEAD_SECONDS`` is closed, and
    a head that is still incomplete after ``MAX_HEAD_BYTES`` is refused with 431. What is no HTTP at all gets a problem
    document too.
    """

    _head_bytes = 0
    _in_head = True
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
            self._arm()
        super().data_received(data)
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse(
                HeadTooLargeProblem(
                    f"The request line and headers are larger than {MAX_HEAD_BYTES} bytes. Send fewer or shorter ones.",
                    limit=MAX_HEAD_BYTES,
                )
            )

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._disarm()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head = True
        self._head_bytes = 0

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words tell nothing
        self._refuse(MalformedRequestProblem("This is not an HTTP/1.1 request, or its headers are malformed."))

    def _refuse(self, problem: Problem) -> None:
        body = problem.document(None).model_dump_json(exclude_none=True).encode()
        head = (
            f"HTTP/1.1 {problem.status} {problem.title}\r\ncontent-type: {MEDIA_TYPE}\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _arm(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
