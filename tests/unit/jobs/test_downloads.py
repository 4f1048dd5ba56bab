"""Fetching a picture by its address, from servers of every kind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.jobs import egress
from app.jobs.downloads import Downloaded, download
from app.jobs.egress import AddressNotAllowedError, EgressError, Gate
from tests.unit.jobs.receiver import answer, receiver, resolver


def fetch(*answers: bytes | float, path: str = "/a.png", limit: int = 5_000_000, seconds: float = 60) -> Any:
    """What download gives, what the sink was given, and what the server was asked."""

    async def run() -> Any:
        pieces: list[bytes] = []
        async with receiver(*answers) as server:
            url = f"http://{server.host}{path}"
            got = await download(Gate([server.host]), url, limit_bytes=limit, seconds=seconds, sink=pieces.append)
            return got, b"".join(pieces), [request.path for request in server.requests]

    return asyncio.run(run())


def test_a_picture_is_fetched() -> None:
    data = bytes(range(256)) * 12_000
    got, received, paths = fetch(answer(200, data, Content_Type="Image/PNG; x=y"), path="/pictures/a%20b.png?size=1")
    assert got == Downloaded("image/png", "a b.png", len(data))
    assert received == data
    assert paths == ["/pictures/a%20b.png?size=1"]


def test_chunks_and_no_length() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    assert fetch(chunked, path="/")[:2] == (Downloaded("application/octet-stream", None, 5), b"abcde")
    until_closed = b"HTTP/1.0 200 OK\r\nContent-Type: image/gif\r\n\r\nabc"
    assert fetch(until_closed, path="/")[:2] == (Downloaded("image/gif", None, 3), b"abc")


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('attachment; filename="cat.jpg"', "cat.jpg"),
        ("attachment; filename*=UTF-8''%D0%BA%D0%BE%D1%82.png", "кот.png"),
        ('attachment; filename="../../etc/passwd"', "passwd"),
        ('attachment; filename="..\\\\x\\\\y.png"', "y.png"),
        ("inline", "a.png"),
    ],
)
def test_the_name(disposition: str, name: str) -> None:
    assert fetch(answer(200, b"1", Content_Disposition=disposition))[0].name == name


def test_three_redirects_are_followed() -> None:
    hops = [answer(301, Location="/b"), answer(302, Location="c"), answer(307, Location="?d")]
    got, received, paths = fetch(*hops, answer(200, b"1"))
    assert (got.bytes, received) == (1, b"1")
    assert paths == ["/a.png", "/b", "/c", "/c?d"]


def test_four_are_not() -> None:
    with pytest.raises(EgressError, match="redirects more than 3 times"):
        fetch(answer(308, Location="/again"))


HOPS = "http://127.0.0.1:1/ http://169.254.169.254/latest/meta-data file:///etc/passwd http://localhost/"
HOPS += " http://[::ffff:127.0.0.1]/ http://x@y/ gopher://127.0.0.1/"


@pytest.mark.parametrize("location", HOPS.split())
def test_a_redirect_goes_through_the_gate_too(location: str) -> None:
    with pytest.raises(AddressNotAllowedError):
        fetch(answer(302, Location=location))


def test_a_redirect_to_a_name_that_has_become_private(monkeypatch: pytest.MonkeyPatch) -> None:
    """Public on the first hop, loopback on the second: a new connection asks anew, and is checked anew."""
    opened = asyncio.open_connection
    meant: list[str] = []

    async def run() -> None:
        async with receiver(answer(302, Location="/b")) as server:

            async def connect(host: str, port: int, **options: Any) -> Any:
                meant.append(host)
                return await opened("127.0.0.1", server.port, **options)

            monkeypatch.setattr(egress.asyncio, "open_connection", connect)
            gate = Gate(resolver=resolver(["8.8.8.8"], ["127.0.0.1"]))
            with pytest.raises(AddressNotAllowedError):
                await download(gate, "http://p.example/", limit_bytes=9, seconds=30, sink=meant.append)

    asyncio.run(run())
    assert meant == ["8.8.8.8"]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (answer(404, b"no"), "answered 404 instead of the picture"),
        (answer(206, b"part"), "answered 206"),
        (answer(302), "answered 302"),
        (answer(200, b"x" * 11), "more than the 10 bytes"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 11, "more than the 10 bytes"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n" + b"x" * 99, "more than the 10 bytes"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", "complete answer|closed the connection"),
        (answer(200, b"1", Content_Encoding="gzip"), "compressed"),
        (b"SSH-2.0-OpenSSH\r\n", "complete answer of HTTP"),
        (b"", "complete answer of HTTP|closed the connection"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000, "complete answer of HTTP"),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "complete answer of HTTP"),
    ],
)
def test_answers_that_are_no_picture(bad: bytes, reason: str) -> None:
    with pytest.raises(EgressError, match=reason) as error:
        fetch(bad, limit=10)
    assert error.value.code == "download_failed"


@pytest.mark.parametrize("path", ["head", "body"])
def test_a_slow_server_is_given_up(path: str) -> None:
    async def run() -> None:
        async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nX-Wait: " if path == "head" else b"HTTP/1.1 200 OK\r\n\r\n")
            try:
                for _ in range(1000):  # a byte now and then: no single wait is long
                    writer.write(b"x")
                    await writer.drain()
                    await asyncio.sleep(0.05)
            except ConnectionError:
                gone.set()

        gone = asyncio.Event()
        server = await asyncio.start_server(drip, "127.0.0.1", 0)
        host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(EgressError, match=r"did not answer completely within 0\.\d+ seconds"):
            await download(Gate([host]), f"http://{host}/", limit_bytes=10**6, seconds=0.4, sink=lambda _: None)
        await asyncio.wait_for(gone.wait(), 30)
        server.close()

    asyncio.run(run())


def test_the_sinks_error_comes_through() -> None:
    def full(_data: bytes) -> None:
        raise OSError("disk full")

    async def run() -> None:
        async with receiver(answer(200, bytes(3_000_000))) as server:
            await download(Gate([server.host]), f"http://{server.host}/", limit_bytes=10**7, seconds=60, sink=full)

    with pytest.raises(OSError, match="disk full"):
        asyncio.run(run())
