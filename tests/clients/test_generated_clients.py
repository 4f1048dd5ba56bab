"""The clients that ``make clients`` generates, from a clean folder, in strict typing, against a live service."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.inference.registry import Registry
from tests.clients.situations import ELSEWHERE, declared, situations, write_plan
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


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Iterator[Path]:
    """A file that tells of a service in every plight; the services live as long as the module's tests."""
    folder = tmp_path_factory.mktemp("situations")
    with situations(folder, registry) as plan:
        yield write_plan(folder, plan)


def met(printed: str) -> set[tuple[int, str]]:
    """(status, code) of the problems that a client met, by what it printed last."""
    return {(status, code) for status, code in json.loads(printed.strip().splitlines()[-1])}


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
    return done.stderr + done.stdout


def test_each_problem_is_met_by_the_clients_or_excused() -> None:
    assert not set(ELSEWHERE) - declared(), "what is excused must exist"


def test_the_python_client(service: Service, plan: Path, tmp_path: Path) -> None:
    document = ROOT / "docs/openapi.json"
    run(sys.executable, CLIENTS / "python_document.py", document, tmp_path / "document.json", cwd=tmp_path)
    told = run(
        *("openapi-python-client", "generate", "--path", "document.json"),
        *("--config", CLIENTS / "python-client.yml", "--output-path", tmp_path / "client"),
        cwd=tmp_path,
    )
    assert "WARNING" not in told
    assert "some pieces may be missing" not in told
    program, problems = (tmp_path / name for name in ("use_python_client.py", "provoke_problems.py"))
    for each in (program, problems):
        shutil.copy(Path(__file__).parent / each.name, each)
    # Away from our own settings of mypy.
    strictly = ("mypy", "--strict", "--config-file=")
    run(*strictly, program, problems, "client/chetko_client", cwd=tmp_path, MYPYPATH="client")
    run(sys.executable, program, service.url, KEY, service.picture, document, cwd=tmp_path, PYTHONPATH="client")
    printed = run(sys.executable, problems, plan, cwd=tmp_path, PYTHONPATH="client")
    assert met(printed) == declared() - set(ELSEWHERE)


def test_the_typescript_client(service: Service, plan: Path, tmp_path: Path) -> None:
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
    printed = run("node", "build/test/problems.js", plan, cwd=folder)
    assert met(printed) == declared() - set(ELSEWHERE)


def test_the_lock_file_names_no_registry() -> None:
    lock = (CLIENTS / "typescript/package-lock.json").read_text()
    assert "resolved" not in lock
    assert "registry" not in lock
