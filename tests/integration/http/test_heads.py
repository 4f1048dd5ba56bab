"""Bounds on the request line and headers, in front of the application."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from app.api import http_protocol
from app.api.http_protocol import BoundedHttpProtocol
from tests.integration.http.live import Computing, Live, live, read_answer

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
