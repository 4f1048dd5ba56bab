"""Every command of the documentation: run here, or its block says what it needs that a test has not."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.integration.http.live import RealServer, real_server

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
NEEDS = {
    "needs a cluster",
    "needs a GPU",
    "needs a container engine",
    "needs a bucket",
    "needs a running queue",
    "needs a terminal of its own",
    "needs the network",
    "needs minutes",
    "needs hours",
    "needs a trained model",
    "needs the benchmarks",
}
LONG = {"needs minutes", "needs hours", "needs a GPU"}
BLOCK = re.compile(r"^```(sh|bash|shell|console)(?: title=\"([^\"]*)\")?\n(.*?)^```$", re.M | re.S)


def blocks(page: Path) -> list[tuple[str, str]]:
    """Title and commands of each block of shell commands."""
    return [(title, commands) for _, title, commands in BLOCK.findall(page.read_text())]


def run_here(page: Path) -> list[str]:
    return [commands for title, commands in blocks(page) if not title]


@pytest.fixture(scope="module")
def service() -> Iterator[RealServer]:
    with real_server() as server:
        yield server


TRANSLATED = ROOT / "docs/ru/tutorial.md"
RUNNABLE = [page for page in PAGES if run_here(page) and page != TRANSLATED]


def test_the_translated_tutorial_has_the_commands_of_the_other() -> None:
    assert run_here(TRANSLATED) == run_here(ROOT / "docs/tutorial.md")


def test_every_block_says_what_it_needs_in_known_words() -> None:
    assert len(PAGES) >= 25
    assert {title for page in PAGES for title, _ in blocks(page)} <= NEEDS | {""}
    assert len(RUNNABLE) >= 11


def test_no_block_escapes_the_other_tests() -> None:
    for page in PAGES:
        opened = len(re.findall(r"^```(?:sh|bash|shell|console)\b", page.read_text(), re.M))
        assert opened == len(blocks(page)), page


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_commands_of_a_page_work(page: Path, service: RealServer, tmp_path: Path) -> None:
    commands = "\n".join(run_here(page)).replace("http://127.0.0.1:8000", service.url)
    for tool in ("kubectl", "promtool"):
        if tool in commands and shutil.which(tool) is None:
            pytest.skip(f"{tool} is missing")
    for name in (".venv", "app", "training"):
        (tmp_path / name).symlink_to(ROOT / name)
    for name in ("docker", "k8s"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "app/web/examples", tmp_path / "photos")
    # What README calls a reader's own pictures.
    (tmp_path / "holiday").mkdir()
    for name in ("photo.jpg", "holiday/beach.jpg"):
        shutil.copy(ROOT / "app/web/examples/kitten.jpg", tmp_path / name)
    with Image.open(tmp_path / "photo.jpg") as picture:
        picture.save(tmp_path / "scan.tif")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CHETKO_")}
    run = subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", commands],
        check=False,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr


# Stands for chetko-train and torchrun: has the options told instead of training with them.
_TELL = """#!/bin/sh
while [ "$1" ] && [ "${0##*/}" = torchrun ]; do
  last=$1; shift
  [ "$last" = training.cli ] && break
done
exec PYTHON -m training.cli "$@" --print-config
"""


@pytest.mark.slow
def test_training_takes_the_options_of_its_page(tmp_path: Path) -> None:
    lines = []
    for title, commands in blocks(ROOT / "docs/training.md"):
        if title in LONG:
            joined = commands.replace("\\\n", " ")
            lines += re.findall(r'^(?:.*chetko-train .*|torchrun .*|more="[^"]*")', joined, re.M)
    assert sum("training.cli" in line or "chetko-train" in line for line in lines) >= 10
    shutil.copytree(ROOT / "app/web/examples", tmp_path / "photos")
    stubs = tmp_path / ".venv/bin"
    stubs.mkdir(parents=True)
    for name in ("chetko-train", "torchrun"):
        (stubs / name).write_text(_TELL.replace("PYTHON", sys.executable))
        (stubs / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{stubs}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        ["bash", "-eux", "-c", "\n".join(lines)],
        check=False,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.count('"network"') == sum(not line.startswith("more=") for line in lines)
