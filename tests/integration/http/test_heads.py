"""Bounds on the request line and headers, in front of the application."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from app.api import http_protocol
from app.api.http_protocol import BoundedHttpProtocol
from tests.integration.http.live import Computing, Live, live, read_answer
from tests.integration.http.pictures import multipart, png, post_head

HELLO = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    monkeypatch.setattr(http_protocol, "HEAD_SECONDS", 1.0)
    with live(Computing(), protocol=BoundedHttpProtocol) as one:
        yield one


def connect(server: Live) -> socket.socket:
    return socket.create_connection((server.host, server.port), timeout=5)


def test_an_endless_head_is_refused(server: Live) -> None:
    with connect(server) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: ")
        sent = 0
        try:
            while sent < 20_000_000:
                connection.sendall(b"x" * 10_000)
                sent += 10_000
        except OSError:
            pass
        assert sent < 5_000_000


def test_a_head_over_the_limit_gets_431(server: Live) -> None:
    with connect(server) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 30_000)
        time.sleep(0.05)
        connection.sendall(b"x" * 40_000)
        head, body = read_answer(connection)
        assert head.startswith(b"HTTP/1.1 431 ")
        assert b'"code":"head_too_large"' in body


def test_a_slow_head_is_cut(server: Live) -> None:
    with connect(server) as connection:
        began = time.monotonic()
        connection.sendall(b"GET /livez HTTP/1.1\r\n")
        assert connection.recv(10) == b""
        assert 0.9 < time.monotonic() - began < 10


def test_a_silent_connection_is_cut(server: Live) -> None:
    with connect(server) as connection:
        assert connection.recv(10) == b""


def test_what_is_no_http_gets_a_problem(server: Live) -> None:
    with connect(server) as connection:
        connection.sendall(b"\x16\x03\x01 this is TLS\r\n\r\n")
        head, body = read_answer(connection)
        assert head.startswith(b"HTTP/1.1 400 ")
        assert b'"code":"malformed_request"' in body


def test_ordinary_requests_are_not_touched(server: Live) -> None:
    with connect(server) as connection:
        for _ in range(3):
            connection.sendall(HELLO[:20])
            time.sleep(0.1)
            connection.sendall(HELLO[20:])
            assert read_answer(connection)[1] == b'{"status":"alive"}'
        time.sleep(1.3)
        connection.sendall(HELLO + HELLO)
        data = b""
        while data.count(b'{"status":"alive"}') < 2:
            data += connection.recv(65536)


def test_a_long_answer_or_upload_is_not_cut(server: Live) -> None:
    with connect(server) as connection:
        body = b"x" * 10
        connection.sendall(b"POST /nope HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\n\r\n" + body)
        assert read_answer(connection)[0].startswith(b"HTTP/1.1 404 ")
        time.sleep(1.3)
        connection.sendall(body)


@pytest.mark.parametrize("start", [b"3\r\n--x\r\n0\r\n", b"3\r\n--x\r\n0\r\nA: ", b"3;extension="])
def test_endless_trailers_and_extensions_are_refused(server: Live, start: bytes) -> None:
    piece = b"x" * 10_000 if start[-1:] in b" =" else b"A: b\r\n" * 1_000
    with connect(server) as connection:
        connection.sendall(post_head(None) + start)
        sent = 0
        try:
            while sent < 20_000_000:
                connection.sendall(piece)
                sent += len(piece)
        except OSError:
            pass
        assert sent < 5_000_000
    server.wait_until(lambda: server.service.admission.requests == 0)


def test_trailers_and_extensions_of_usual_size_are_taken(server: Live) -> None:
    body = multipart(png(200, 200))
    pieces = [body[start : start + 3] for start in range(0, len(body), 3)]
    chunks = b"".join(b"%x;a=%s\r\n%s\r\n" % (len(piece), b"b" * 1000, piece) for piece in pieces)
    assert len(chunks) > 2 * http_protocol.MAX_HEAD_BYTES
    with connect(server) as connection:
        connection.sendall(post_head(None) + chunks + b"0\r\nA: b\r\n\r\n")
        assert read_answer(connection)[0].startswith(b"HTTP/1.1 200 ")


def test_an_offer_of_another_protocol_does_not_cost_the_body(server: Live) -> None:
    body = multipart(png())
    offer = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAEAAEAAAAIAAAAA"}
    for pause in (0, 0.1):
        with connect(server) as connection:
            connection.sendall(post_head(len(body), **offer))
            time.sleep(pause)
            connection.sendall(body)
            assert read_answer(connection)[0].startswith(b"HTTP/1.1 200 ")


def test_a_malformed_successor_does_not_get_into_an_answer() -> None:
    body = multipart(png())
    with (
        live(Computing(result=bytes(30_000_000)), protocol=BoundedHttpProtocol) as server,
        connect(server) as connection,
    ):
        connection.sendall(post_head(len(body)) + body)
        data = connection.recv(1000)
        connection.sendall(b"no HTTP at all\r\n\r\n")
        try:
            while piece := connection.recv(1_000_000):
                data += piece
        except ConnectionResetError:
            pass
        assert b"malformed_request" not in data
