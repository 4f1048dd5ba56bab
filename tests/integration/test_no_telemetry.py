"""onnxruntime's wheels carry telemetry; nothing of it runs here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KITTEN = ROOT / "app" / "web" / "examples" / "kitten.jpg"


@pytest.mark.parametrize(
    "arguments",
    [
        ["-m", "app.cli", "upscale", str(KITTEN), "--scale", "2", "-o", "large.png"],
        ["-m", "training.evaluation.cli", str(ROOT / "app/models/fast"), "--data", "photos", "--scale", "2"],
    ],
    ids=["chetko", "chetko-evaluate"],
)
def test_a_run_leaves_nothing_but_its_result(arguments: list[str], tmp_path: Path) -> None:
    home, scratch, work = (tmp_path / name for name in ("home", "scratch", "work"))
    for folder in (home, scratch, work, work / "photos"):
        folder.mkdir()
    (work / "photos" / "kitten.jpg").write_bytes(KITTEN.read_bytes())
    unset = {
        name: value for name, value in os.environ.items() if name not in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    }
    environment = {**unset, "HOME": str(home), "TMPDIR": str(scratch), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, *arguments], cwd=work, env=environment, check=True, timeout=120)
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left <= {"work/photos/kitten.jpg", "work/large.png"}
