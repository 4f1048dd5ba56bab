"""The clients that ``make clients`` generates, from a clean folder, in strict typing, against a live service."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.inference.registry import Registry
from tests.contract.served import KEY, served
from tests.integration.http.pictures import png

ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / "clients"
BIN = Path(sys.executable).parent

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@dataclass
class Service:
    """A live service with keys on, and a picture to send."""

    url: str
    picture: Path


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    (folder / "cat.png").write_bytes(png(64, 56))
    with served(folder, registry) as url:
        yield Service(url, folder / "cat.png")


def run(*command: str | Path, cwd: Path, **environ: str) -> str:
    done = subprocess.run(
        [str(each) for each in command],
        cwd=cwd,
        env={**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-5000:]}\n{done.stderr[-5000:]}"
    return done.stdout + done.stderr


def test_the_python_client(service: Service, tmp_path: Path) -> None:
    told = run(
        *("openapi-python-client", "generate", "--path", ROOT / "docs/openapi.json"),
        *("--config", CLIENTS / "python-client.yml", "--output-path", tmp_path / "client"),
        cwd=tmp_path,
    )
    assert "WARNING" not in told
    assert "some pieces may be missing" not in told
    program = tmp_path / "use_python_client.py"
    shutil.copy(Path(__file__).parent / "use_python_client.py", program)
    # Away from our own settings of mypy.
    run("mypy", "--strict", "--config-file=", program, "client/chetko_client", cwd=tmp_path, MYPYPATH="client")
    document = ROOT / "docs/openapi.json"
    run(sys.executable, program, service.url, KEY, service.picture, document, cwd=tmp_path, PYTHONPATH="client")


def test_the_typescript_client(service: Service, tmp_path: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    folder = tmp_path / "clients" / "typescript"
    shutil.copytree(CLIENTS / "typescript", folder, ignore=shutil.ignore_patterns("node_modules", "src", "build"))
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / "docs/openapi.json", tmp_path / "docs")
    run("npm", "ci", cwd=folder)
    run("npm", "run", "generate", cwd=folder)
    run("npx", "tsc", cwd=folder)
    run("node", "build/test/live.js", service.url, KEY, service.picture, cwd=folder)


def test_the_lock_file_names_no_registry() -> None:
    lock = (CLIENTS / "typescript/package-lock.json").read_text()
    assert "resolved" not in lock
    assert "registry" not in lock
