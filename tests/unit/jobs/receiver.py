"""An HTTP server for tests that answers what it is told to, and remembers what it was sent."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from app.jobs.egress import Resolver

CERTIFICATE = Path(__file__).with_name("pictures.example.pem")
"""Key and self-signed certificate of ``pictures.example``, which is no secret."""


@dataclass
class Received:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    port: int = 0
    requests: list[Received] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)
    """What the TLS handshakes asked for."""

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"


def answer(status: int = 200, body: bytes = b"", **headers: str) -> bytes:
    """A whole answer; underscores in the names of headers stand for dashes."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


@asynccontextmanager
async def receiver(*answers: bytes | float, tls: bool = False) -> AsyncIterator[Receiver]:
    """Gives one answer after another, the last one again and again; a number is silence for so many seconds."""
    state = Receiver()
    left = list(answers)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-2])}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            method, path, _ = head[0].split(" ")
            state.requests.append(Received(method, path, headers, body))
            now = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(now, bytes):
                writer.write(now)
                await writer.drain()
            else:
                await asyncio.sleep(now)
        writer.close()

    context = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE)
        context.sni_callback = lambda _socket, name, _context: state.names.append(name)
    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    state.port = server.sockets[0].getsockname()[1]
    try:
        yield state
    finally:
        server.close()


def resolver(*rounds: Iterable[str]) -> Resolver:
    """A name server whose answer changes from one question to the next; the last one stays."""
    left = [list(addresses) for addresses in rounds]

    async def resolve(_host: str, _port: int) -> list[str]:
        return left.pop(0) if len(left) > 1 else left[0]

    return resolve
