"""uvicorn's HTTP protocol with bounds on a request's head, which it does not have by itself."""

from __future__ import annotations

import asyncio
import re

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.api.problems import MEDIA_TYPE, HeadTooLargeProblem, MalformedRequestProblem, Problem

MAX_HEAD_BYTES = 64 * 1024
HEAD_SECONDS = 15.0


_UPGRADE = re.compile(rb"\r\nupgrade(?=:)", re.IGNORECASE)


class BoundedHttpProtocol(HttpToolsProtocol):
    """Guarantees: a connection on which no whole request line and headers arrive within ``HEAD_SECONDS`` is closed, and
    a head that is still incomplete after ``MAX_HEAD_BYTES`` is refused with 431. The same bound holds for what stands
    between two pieces of a chunked body and after it (extensions, trailers). What is no HTTP at all gets a problem
    document too. An offer to change the protocol is passed over, as RFC 9110 allows.
    """

    _head_bytes = 0
    """Bytes since the head or the last piece of the body."""
    _in_head = True
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        if self._in_head:
            self._arm()
            # Java's client offers HTTP/2 this way, and httptools would take the body for the other protocol.
            head, end, rest = data.partition(b"\r\n\r\n")
            data = _UPGRADE.sub(b"\r\nx-upgrade", head) + end + rest
        super().data_received(data)
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse(
                HeadTooLargeProblem(
                    f"The request line and headers are larger than {MAX_HEAD_BYTES} bytes. Send fewer or shorter ones.",
                    limit=MAX_HEAD_BYTES,
                )
            )

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_bytes = 0
        self._disarm()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head = True
        self._head_bytes = 0

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words tell nothing
        self._refuse(MalformedRequestProblem("This is not an HTTP/1.1 request, or its headers are malformed."))

    def _refuse(self, problem: Problem) -> None:
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.close()  # within another answer, this one would be taken for a part of it
            return
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
