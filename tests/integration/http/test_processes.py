"""``chetko serve`` with the processes that belong to it, and ``chetko worker``."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest
import redis

from app.jobs.data_folder import Note, note_in
from tests.integration.http.live import real_server, start_serve
from tests.integration.http.pictures import png
from tests.integration.http.test_observed import metrics_address, read
from tests.queue_server import queue_server, queue_url

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no embedded queue server there")


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not happen"
        time.sleep(0.02)


def note(folder: Path) -> Note:
    found = note_in(folder)
    assert found is not None
    return found


@pytest.fixture
def workers() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts ``chetko worker`` with these ``CHETKO_`` settings and no others; ends it with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(**environ: str) -> subprocess.Popen[str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("CHETKO_")}
        process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "worker"],
            env={**inherited, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_job_goes_through_and_everything_ends_with_serve(tmp_path: Path) -> None:
    with real_server(worker=True, CHETKO_DATA_DIR=str(tmp_path)) as server:
        children = note(tmp_path).children
        assert list(children) == ["queue server", "worker"]
        files = {"image": ("a.png", png(40, 30))}
        answer = httpx.post(
            f"{server.url}/v1/upscale?scale=4", files=files, headers={"Prefer": "respond-async"}, timeout=30
        )
        assert answer.status_code == 202
        job = server.url + answer.headers["location"]
        wait_until(lambda: httpx.get(job).json()["state"] == "succeeded")

        second = start_serve(CHETKO_DATA_DIR=str(tmp_path))
        said, _ = second.communicate(timeout=60)
        assert second.returncode == 1
        assert said.count("\n") == 1
        assert f"is in use by another chetko serve (process {server.process.pid} since 20" in said

        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 20
        assert not any(child.alive() for child in children.values())
        assert (tmp_path / "serve.lock").read_text() == ""
        printed = "".join(iter(lambda: server.lines.get(timeout=5), ""))
        assert "Traceback" not in printed, printed
        assert "is started again" not in printed, "nobody died"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the next start ends the children")
def test_nothing_outlives_a_killed_serve_and_the_worker_comes_back_when_it_is_killed(tmp_path: Path) -> None:
    with real_server(worker=True, CHETKO_DATA_DIR=str(tmp_path)) as server:
        first = note(tmp_path).children["worker"]
        assert b"worker" in Path(f"/proc/{first.pid}/cmdline").read_bytes()
        os.kill(first.pid, signal.SIGKILL)
        wait_until(lambda: note(tmp_path).children["worker"] != first)
        children = note(tmp_path).children
        assert server.stop(signal.SIGKILL) == -signal.SIGKILL
        wait_until(lambda: not any(child.alive() for child in children.values()))


def test_a_worker_finds_the_queue_of_the_serve_beside_it(
    tmp_path: Path, workers: Callable[..., subprocess.Popen[str]]
) -> None:
    lonely = workers(CHETKO_DATA_DIR=str(tmp_path))
    said, _ = lonely.communicate(timeout=60)
    assert lonely.returncode == 2
    assert said.startswith("chetko: There is no queue: set CHETKO_REDIS_URL, or start chetko serve")
    assert said.count("\n") == 1
    with real_server(CHETKO_DATA_DIR=str(tmp_path)) as server:
        assert list(note(tmp_path).children) == ["queue server"], "--no-worker"
        worker = workers(CHETKO_DATA_DIR=str(tmp_path))
        answer = httpx.post(
            f"{server.url}/v1/upscale?scale=2",
            files={"image": ("a.png", png(40, 30))},
            headers={"Prefer": "respond-async"},
            timeout=30,
        )
        job = server.url + answer.headers["location"]
        wait_until(lambda: httpx.get(job).json()["state"] == "succeeded")
        if sys.platform == "linux":
            assert Path(f"/proc/{worker.pid}/comm").read_text() == "chetko worker\n"
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0


def test_a_queue_that_throws_keys_away_is_refused(
    tmp_path: Path, workers: Callable[..., subprocess.Popen[str]]
) -> None:
    with queue_server() as queue:
        url = queue.url
        with redis.Redis.from_url(url) as client:
            client.config_set("maxmemory-policy", "allkeys-lru")
        for process in (
            workers(CHETKO_REDIS_URL=url, CHETKO_DATA_DIR=str(tmp_path)),
            start_serve(CHETKO_REDIS_URL=url, CHETKO_DATA_DIR=str(tmp_path)),
        ):
            said, _ = process.communicate(timeout=60)
            assert process.returncode == 2
            assert said.count("\n") == 1
            assert "(maxmemory-policy allkeys-lru), and jobs with them: set its maxmemory-policy to noeviction." in said


def test_a_worker_waits_for_its_queue_and_stops_while_it_waits(
    tmp_path: Path, workers: Callable[..., subprocess.Popen[str]]
) -> None:
    worker = workers(CHETKO_REDIS_URL=f"unix://{tmp_path}/nobody", CHETKO_DATA_DIR=str(tmp_path))
    assert worker.stdout is not None
    line = worker.stdout.readline()
    assert f"The queue server at {tmp_path}/nobody does not answer" in line
    assert "The worker waits for it." in line
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0


def test_with_a_queue_given_nothing_is_started(tmp_path: Path) -> None:
    with queue_url() as url, real_server(worker=True, CHETKO_REDIS_URL=url, CHETKO_DATA_DIR=str(tmp_path)) as server:
        assert httpx.get(f"{server.url}/v1/jobs").status_code == 200
        assert note_in(tmp_path) is None
        assert not (tmp_path / "queue").exists()
        assert server.stop() == 0


def test_a_queue_server_that_cannot_start_ends_the_start(tmp_path: Path) -> None:
    log = tmp_path / "queue" / "appendonlydir"
    log.mkdir(parents=True)
    (log / "appendonly.aof.manifest").write_text("nonsense\n")
    process = start_serve(CHETKO_DATA_DIR=str(tmp_path))
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "chetko: The queue server cannot be started: it ended with exit code 1 (" in said


def test_several_processes_answer_on_one_port_and_one_that_dies_is_replaced(tmp_path: Path) -> None:
    with real_server(
        worker=True, CHETKO_DATA_DIR=str(tmp_path), CHETKO_PROCESSES="2", CHETKO_METRICS_PORT="0"
    ) as server:
        children = note(tmp_path).children
        assert list(children) == ["queue server", "server process 2", "worker"]
        second = children["server process 2"].pid
        wait_until(lambda: answering(server.url, server.process.pid) and answering(server.url, second))

        # Prometheus asks the first one and is told of both.
        metrics = metrics_address(server.process.pid, server.url)
        places = "chetko_requests_in_limit", frozenset[str]()
        wait_until(lambda: read(metrics).get(places) == 2 * 64)
        asked = "chetko_http_requests_total", frozenset(("GET", "/v1/models", "200"))
        for _ in range(20):  # each over a connection of its own, which either may take
            assert httpx.get(f"{server.url}/v1/models").status_code == 200
        wait_until(lambda: read(metrics).get(asked) == 20)

        # What one has taken in the other knows.
        with httpx.Client(base_url=server.url) as one:
            files = {"image": ("a.png", png(40, 30))}
            answer = one.post("/v1/upscale?scale=2", files=files, headers={"Prefer": "respond-async"}, timeout=30)
        job = answer.json()["links"]["self"]
        for _ in range(20):
            assert httpx.get(server.url + job).status_code == 200
        wait_until(lambda: httpx.get(server.url + job).json()["state"] == "succeeded")

        os.kill(second, signal.SIGKILL)
        wait_until(lambda: note(tmp_path).children["server process 2"].pid != second)
        third = note(tmp_path).children["server process 2"].pid
        wait_until(lambda: answering(server.url, third))
        wait_until(lambda: read(metrics).get(places) == 2 * 64)  # the dead one's places are gone, the new one's there
        assert read(metrics)[asked] == 20, "what the dead one counted stays"

        assert server.stop() == 0
        printed = "".join(iter(lambda: server.lines.get(timeout=5), ""))
        assert "Traceback" not in printed, printed
        assert printed.count("Chetko is ready") == 0, "the first one's word is enough"


def answering(url: str, process: int) -> bool:
    """Whether the process takes connections at this address: with one it holds, a few of which are opened here."""
    host, _, port = url.removeprefix("http://").partition(":")
    opened = [socket.create_connection((host, int(port))) for _ in range(8)]
    try:
        for each in opened:
            each.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert each.recv(1000).startswith(b"HTTP/1.1 200 ")
        local = {each.getsockname()[1] for each in opened}
        theirs = psutil.Process(process).net_connections("tcp")
        return any(each.raddr and each.raddr.port in local for each in theirs)
    finally:
        for each in opened:
            each.close()


def test_several_processes_with_a_queue_given(tmp_path: Path) -> None:
    with (
        queue_url() as url,
        real_server(
            CHETKO_REDIS_URL=url, CHETKO_DATA_DIR=str(tmp_path), CHETKO_PROCESSES="2", CHETKO_HOST="127.0.0.1"
        ) as server,
    ):
        (second,) = [each for each in psutil.Process(server.process.pid).children() if "serve" in each.cmdline()]
        wait_until(lambda: answering(server.url, second.pid))
        assert server.stop() == 0
        assert not second.is_running()
