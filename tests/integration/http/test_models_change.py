"""Models that come, change and go while ``chetko serve`` runs."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.integration.http.live import RealServer, real_server
from tests.models import faded, nearest, write_model

NOISE = np.random.default_rng(3).integers(0, 256, (20, 30, 3), np.uint8)


def names(server: RealServer) -> set[str]:
    return {model["name"] for model in httpx.get(f"{server.url}/v1/models").json()["models"]}


def enlarged(server: RealServer, model: str) -> np.ndarray | int:
    """The picture, or the status where there is none."""
    source = io.BytesIO()
    Image.fromarray(NOISE).save(source, "PNG")
    answer = httpx.post(
        f"{server.url}/v1/upscale", params={"model": model, "scale": 2}, files={"image": ("a.png", source.getvalue())}
    )
    return np.asarray(Image.open(io.BytesIO(answer.content))) if answer.status_code == 200 else answer.status_code


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not happen"
        time.sleep(0.05)


def printed(server: RealServer, text: str) -> Callable[[], bool]:
    return lambda: any(text in line for line in server.lines.queue)


def test_a_model_put_into_the_folder_appears_changes_and_goes(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    with real_server(CHETKO_MODELS_DIR=str(own), CHETKO_MODELS_POLL_SECONDS="0.2") as server:
        shipped = names(server)
        assert enlarged(server, "tiny") == 422
        shutil.copytree(write_model(tmp_path, "tiny", nearest), own / "tiny")
        until(lambda: "tiny" in names(server))
        np.testing.assert_array_equal(enlarged(server, "tiny"), NOISE.repeat(2, 0).repeat(2, 1))

        broken = write_model(own, "broken")
        (broken / "x4.onnx").write_bytes(b"no network")
        until(printed(server, "those that are loaded stay"))
        assert names(server) == {*shipped, "tiny"}
        assert isinstance(enlarged(server, "tiny"), np.ndarray)
        assert httpx.get(f"{server.url}/readyz").status_code == 200

        shutil.rmtree(broken)
        shutil.rmtree(own / "tiny")
        write_model(own, "tiny", faded, version="1.0.1")
        until(printed(server, "tiny changed"))
        changed = enlarged(server, "tiny")
        assert isinstance(changed, np.ndarray)
        assert changed.min() >= 63
        assert changed.max() <= 192

        shutil.rmtree(own / "tiny")
        until(lambda: names(server) == shipped)
        assert enlarged(server, "tiny") == 422
        assert server.stop() == 0


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")
def test_sighup_has_the_models_read_again(tmp_path: Path) -> None:
    with real_server(CHETKO_MODELS_DIR=str(tmp_path), CHETKO_MODELS_POLL_SECONDS="0") as server:
        folder = write_model(tmp_path, "tiny")
        time.sleep(0.5)
        assert "tiny" not in names(server), "nobody looks"
        server.process.send_signal(signal.SIGHUP)
        until(lambda: "tiny" in names(server))
        (folder / "manifest.json").write_text("{}")
        server.process.send_signal(signal.SIGHUP)
        until(printed(server, "is not a model manifest"))
        assert isinstance(enlarged(server, "tiny"), np.ndarray)
        assert server.stop() == 0


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="this system has no terminals")
def test_closing_the_terminal_still_stops_it(tmp_path: Path) -> None:
    """A terminal that goes away sends SIGHUP too, and must not leave a server behind that nobody sees."""
    ours, theirs = os.openpty()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CHETKO_")}
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", sys.executable, "-m", "app.cli", "serve"],
        env={**inherited, "CHETKO_PORT": "0", "CHETKO_DATA_DIR": str(tmp_path)},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    seen = b""
    while b"is ready" not in seen:
        seen += os.read(ours, 1000)
    os.close(ours)
    assert process.wait(20) == 0
