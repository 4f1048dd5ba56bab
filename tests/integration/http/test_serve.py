"""``chetko serve`` as a process: what it prints, how it ends."""

from __future__ import annotations

import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.integration.http.live import RealServer, problem, real_server, start_serve
from tests.integration.http.pictures import multipart, png, post_head


def run_to_end(**environ: str) -> tuple[int, str]:
    process = start_serve(**environ)
    output, _ = process.communicate(timeout=60)
    return process.returncode, output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_is_and_stops_cleanly(number: int) -> None:
    with real_server() as server:
        assert httpx.get(f"{server.url}/readyz").status_code == 200
        assert server.stop(number) == 0
        assert not [line for line in server.lines.queue if "Traceback" in line]


def test_the_first_line_comes_before_the_models() -> None:
    process = start_serve()
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("Chetko is starting on http://127.0.0.1:")
        assert line.endswith(" ...\n")
    finally:
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=30)
        assert process.returncode == 0, "a stop while the models load is a clean stop too"
        assert "ready" not in rest


def test_a_port_in_use_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, output = run_to_end(CHETKO_PORT=str(port))
    assert code == 1
    assert output == (
        f"chetko: Something else listens on port {port} of 127.0.0.1: stop it, or set CHETKO_PORT to another port.\n"
    )


def test_an_unknown_address_is_one_sentence() -> None:
    code, output = run_to_end(CHETKO_HOST="no.such.host.invalid")
    assert code == 1
    assert output.count("\n") == 1
    assert "CHETKO_HOST" in output


def test_bad_settings_are_told_all_at_once() -> None:
    code, output = run_to_end(CHETKO_PORT="eighty", CHETKO_PLATFORM="tpu")
    assert code == 2
    assert sorted(output.splitlines()) == [
        "chetko: CHETKO_PLATFORM must be one of auto, cpu or gpu, not 'tpu'.",
        "chetko: CHETKO_PORT must be a whole number, not 'eighty'.",
    ]


def test_misspelt_settings_are_told_and_do_no_harm() -> None:
    process = start_serve(CHETKO_PROT="1")
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "chetko: Warning: CHETKO_PROT is no setting; did you mean CHETKO_PORT?\n"
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        process.stdout and process.stdout.close()


def test_a_broken_model_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "manifest.json").write_text("{}")
    code, output = run_to_end(CHETKO_MODELS_DIR=str(tmp_path))
    assert code == 2
    assert output.count("\n") == 2, output
    assert "is not a model manifest" in output.splitlines()[-1]


def test_a_running_picture_is_finished_before_the_end() -> None:
    with real_server() as server, ThreadPoolExecutor(1) as clients:
        files = {"image": ("a.png", png(900, 900))}
        answer = clients.submit(httpx.post, f"{server.url}/v1/upscale?scale=4", files=files, timeout=60)
        wait_for_requests(server, 1)
        assert server.stop() == 0
        assert answer.result().status_code == 200


def test_a_picture_that_takes_longer_than_the_drain_time_is_told_to_come_again() -> None:
    with real_server(CHETKO_DRAIN_SECONDS="0") as server, ThreadPoolExecutor(1) as clients:
        files = {"image": ("a.png", png(1000, 1000))}
        answer = clients.submit(httpx.post, f"{server.url}/v1/upscale?scale=4", files=files, timeout=60)
        wait_for_requests(server, 1)
        assert server.stop() == 0
        assert problem(answer.result(), 503, "draining")
        assert answer.result().headers["retry-after"] == "5"
        printed = "".join(iter(lambda: server.lines.get(timeout=5), ""))
        assert "Traceback" not in printed, printed


def test_a_second_interrupt_does_not_wait() -> None:
    with real_server(CHETKO_RECEIVE_IDLE_SECONDS="60") as server:
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(post_head(1000, "/v1/upscale?scale=4") + multipart(png())[:50])
            wait_for_requests(server, 1)
            server.process.send_signal(signal.SIGINT)
            time.sleep(0.5)
            assert server.process.poll() is None, "the upload got no time to finish"
            began = time.monotonic()
            server.process.send_signal(signal.SIGINT)
            server.process.wait(20)
            assert time.monotonic() - began < 10


def wait_for_requests(server: RealServer, count: int) -> None:
    deadline = time.monotonic() + 10
    while httpx.get(f"{server.url}/readyz").json()["requests"] < count:
        assert time.monotonic() < deadline, "the request did not arrive"
        time.sleep(0.005)
