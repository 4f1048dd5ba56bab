"""One HTTP request through the gate, with bounds on its time and its bytes."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import h11

from app import __version__
from app.jobs.egress import EgressError, Gate

_CHUNK = 64 * 1024
_MAX_HEAD = 16 * 1024


class Answer:
    """What came back; the body is read while the call is open."""

    def __init__(self, host: str, connection: h11.Connection, reader: asyncio.StreamReader, head: h11.Response) -> None:
        self._host = host
        self._connection = connection
        self._reader = reader
        self.status = head.status_code
        self._headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(list(head.headers))
        }

    def header(self, name: str) -> str | None:
        """The first header of that name (in lower case)."""
        return self._headers.get(name)

    async def body(self, limit_bytes: int) -> AsyncIterator[bytes]:
        """The body as it was sent, in pieces. Raises EgressError when it is longer than the limit, or cut short."""
        declared = self.header("content-length")
        if declared is not None and declared.isdigit() and int(declared) > limit_bytes:
            raise _too_long(limit_bytes)
        received = 0
        while True:
            event = await _next(self._host, self._connection, self._reader)
            if isinstance(event, h11.Data):
                received += len(event.data)
                if received > limit_bytes:
                    raise _too_long(limit_bytes)
                yield bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return
            else:
                raise _no_http(self._host)


@asynccontextmanager
async def call(
    gate: Gate, method: str, url: str, *, headers: Mapping[str, str], body: bytes = b"", seconds: float
) -> AsyncIterator[Answer]:
    """Sends one request and waits for the head of its answer; redirects are answers like any other.

    ``seconds`` bound the whole block, from the look-up of the name to the last byte that the block reads. Raises
    EgressError (AddressNotAllowedError among them) also out of the block's reading.
    """
    target = gate.parse(url)
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await gate.connect(target)
            try:
                connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD)
                head = {
                    "Host": target.authority,
                    "User-Agent": f"Chetko/{__version__}",
                    "Accept-Encoding": "identity",
                    "Connection": "close",
                    **headers,
                }
                if body or method != "GET":
                    head["Content-Length"] = str(len(body))
                request = h11.Request(method=method, target=target.path, headers=list(head.items()))
                for event in (request, h11.Data(data=body), h11.EndOfMessage()):
                    writer.write(connection.send(event) or b"")
                with suppress(ConnectionError):  # the answer may be there all the same
                    await writer.drain()
                answer = await _next(target.host, connection, reader)
                while isinstance(answer, h11.InformationalResponse):
                    answer = await _next(target.host, connection, reader)
                if not isinstance(answer, h11.Response):
                    raise _no_http(target.host)
                yield Answer(target.host, connection, reader, answer)
            finally:
                # At once: whoever does not read on must not be waited for.
                writer.transport.abort()
    except TimeoutError:
        raise EgressError(f"{target.host} did not answer completely within {seconds:g} seconds.") from None


async def _next(
    host: str, connection: h11.Connection, reader: asyncio.StreamReader
) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
    try:
        while (event := connection.next_event()) is h11.NEED_DATA:
            connection.receive_data(await reader.read(_CHUNK))
    except h11.RemoteProtocolError:
        raise _no_http(host) from None
    except (ConnectionError, ssl.SSLError):
        raise EgressError(f"{host} closed the connection before its answer was complete.") from None
    return event


def _no_http(host: str) -> EgressError:
    return EgressError(f"{host} did not give a complete answer of HTTP/1.1.")


def _too_long(limit_bytes: int) -> EgressError:
    return EgressError(f"The file has more than the {limit_bytes} bytes that are taken in.")
