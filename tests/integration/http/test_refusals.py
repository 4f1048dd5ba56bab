"""What is refused before its body is read: the answer comes at once, and the client really gets it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.http.live import Computing, Live, live, problem, read_answer
from tests.integration.http.pictures import multipart, png, post_head

LENGTH = 40_000_000


@pytest.fixture(scope="module")
def server() -> Iterator[Live]:
    with live(Computing(), max_body_bytes=50_000_000) as one:
        yield one


@pytest.fixture(scope="module")
def small_server() -> Iterator[Live]:
    with live(Computing(), max_body_bytes=100_000) as one:
        yield one


def answer_to_head_only(server: Live, head: bytes) -> tuple[bytes, bytes, float]:
    """Sends a head and nothing else; gives the answer and the seconds until it was complete."""
    with socket.create_connection((server.host, server.port), timeout=5) as connection:
        began = time.monotonic()
        connection.sendall(head)
        top, body = read_answer(connection)
        return top, body, time.monotonic() - began


@pytest.mark.parametrize(
    ("head", "status", "code"),
    [
        (post_head(LENGTH, "/v1/upscale?sclae=2"), 422, "unknown_option"),
        (post_head(LENGTH, "/v1/upscale?scale=9"), 422, "invalid_option"),
        (post_head(LENGTH, "/v1/upscale?scale=2&model=nope"), 422, "unknown_model"),
        (post_head(LENGTH, "/v1/upscale?scale=5"), 422, "unknown_scale"),
        (post_head(50_000_001), 413, "body_too_large"),
        (post_head(10**15), 413, "body_too_large"),
        (post_head(LENGTH, Content_Type="image/png"), 415, "not_multipart"),
        (post_head(LENGTH, Content_Type="multipart/form-data"), 400, "missing_boundary"),
        (post_head(LENGTH, Host="evil.example"), 421, "host_not_allowed"),
        (post_head(LENGTH, Origin="https://evil.example"), 403, "cross_site_request"),
        (post_head(LENGTH, Sec_Fetch_Site="cross-site"), 403, "cross_site_request"),
        (post_head(LENGTH, "/nope"), 404, "not_found"),
        (post_head(LENGTH, "/v1/models"), 405, "method_not_allowed"),
        (post_head(None, "/v1/upscale?sclae=2"), 422, "unknown_option"),
    ],
)
def test_the_answer_comes_without_the_body(server: Live, head: bytes, status: int, code: str) -> None:
    top, body, seconds = answer_to_head_only(server, head)
    assert top.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"connection: close" in top.lower()
    assert f'"code":"{code}"'.encode() in body
    assert seconds < 1


def test_a_client_that_waits_for_100_continue_never_sends_its_body(server: Live) -> None:
    head = post_head(LENGTH, "/v1/upscale?sclae=2", Expect="100-continue")
    top, _, _ = answer_to_head_only(server, head)
    assert top.startswith(b"HTTP/1.1 422 "), "100 Continue would have invited the body"


def test_a_good_upload_is_invited_by_100_continue(server: Live) -> None:
    body = multipart(png())
    with socket.create_connection((server.host, server.port), timeout=5) as connection:
        connection.sendall(post_head(len(body), Expect="100-continue"))
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.sendall(body)
        assert read_answer(connection)[0].startswith(b"HTTP/1.1 200 ")


def test_the_connection_is_closed_soon_after(server: Live) -> None:
    with socket.create_connection((server.host, server.port), timeout=10) as connection:
        connection.sendall(post_head(LENGTH, "/v1/upscale?sclae=2"))
        read_answer(connection)
        began = time.monotonic()
        assert connection.recv(100) == b""
        assert time.monotonic() - began < 4


@pytest.mark.parametrize("query", ["sclae=2", "scale=2"])
def test_httpx_sees_the_answer_although_it_sends_everything_first(server: Live, query: str) -> None:
    answer = httpx.post(f"{server.url}/v1/upscale?{query}", files={"image": ("a.png", bytes(60_000_000))}, timeout=20)
    problem(answer, 422 if query == "sclae=2" else 413, "unknown_option" if query == "sclae=2" else "body_too_large")


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
@pytest.mark.parametrize("extra", [[], ["-H", "Expect:"], ["-H", "Expect:", "-H", "Transfer-Encoding: chunked"]])
def test_curl_sees_the_answer(server: Live, tmp_path: Path, extra: list[str]) -> None:
    file = tmp_path / "large"
    file.write_bytes(bytes(60_000_000))
    command = ["curl", "-sS", *extra, "-F", f"image=@{file}", f"{server.url}/v1/upscale?scale=2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert '"code":"body_too_large"' in done.stdout


def test_chunked_bytes_are_counted_while_they_arrive(small_server: Live) -> None:
    sent = 0
    with socket.create_connection((small_server.host, small_server.port), timeout=10) as connection:
        connection.sendall(post_head(None))
        answered = threading.Event()

        def watch() -> None:
            connection.recv(1, socket.MSG_PEEK)
            answered.set()

        threading.Thread(target=watch, daemon=True).start()
        top = multipart(b"").partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        connection.sendall(f"{len(top):x}\r\n".encode() + top + b"\r\n")
        while not answered.wait(0.01) and sent < 5_000_000:
            connection.sendall(b"2710\r\n" + bytes(10_000) + b"\r\n")
            sent += 10_000
        head, body = read_answer(connection)
    assert head.startswith(b"HTTP/1.1 413 ")
    assert b'"limit":100000' in body
    assert sent < 1_000_000, "the service read on long after its limit"


def test_an_upload_that_stops_mid_way(server: Live) -> None:
    with live(Computing(), receive_idle_seconds=0.3) as one:
        with socket.create_connection((one.host, one.port), timeout=10) as connection:
            body = multipart(png())
            connection.sendall(post_head(len(body)) + body[:50])
            began = time.monotonic()
            head, answer = read_answer(connection)
            assert head.startswith(b"HTTP/1.1 408 ")
            assert b'"code":"upload_too_slow"' in answer
            assert 0.2 < time.monotonic() - began < 10
        one.wait_until(lambda: one.service.admission.requests == 0)


def test_an_upload_that_trickles(server: Live) -> None:
    with (
        live(Computing(), receive_idle_seconds=0.3, receive_min_bytes_per_second=1000) as one,
        socket.create_connection((one.host, one.port), timeout=10) as connection,
    ):
        body = multipart(png())
        connection.sendall(post_head(len(body)))
        connection.setblocking(False)
        answer = b""
        for at in range(100):
            connection.send(body[at : at + 1])
            time.sleep(0.02)
            try:
                answer += connection.recv(65536)
                break
            except BlockingIOError:
                continue
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b'"limit":1000' in answer


def test_a_client_that_breaks_off_frees_its_place(server: Live) -> None:
    body = multipart(png())
    admission = server.service.admission
    with socket.create_connection((server.host, server.port), timeout=10) as connection:
        connection.sendall(post_head(len(body)) + body[:50])
        server.wait_until(lambda: (admission.requests, admission.uploads) == (1, 1))
    server.wait_until(lambda: (admission.requests, admission.uploads) == (0, 0))
