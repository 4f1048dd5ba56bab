"""HTTP and the command line are two doors to one way: same bytes, and on Set5 the quality that is promised."""

from __future__ import annotations

import io
import json
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from app.cli import main
from tests.integration.http.live import RealServer
from tests.shared_data import BENCHMARKS, needs_benchmarks
from training.evaluation.datasets import read_picture
from training.evaluation.metrics import luma, psnr, shave

EXAMPLES = Path(__file__).parents[3] / "app" / "web" / "examples"
MANIFEST = Path(__file__).parents[3] / "app" / "models" / "fast" / "manifest.json"
PROMISED = {4: 31.1, 2: 36.8}


def through_http(server: RealServer, file: Path, **options: object) -> bytes:
    answer = httpx.post(
        f"{server.url}/v1/upscale", params=options, files={"image": (file.name, file.read_bytes())}, timeout=120
    )
    assert answer.status_code == 200, answer.text
    return answer.content


def through_the_command_line(file: Path, target: Path, scale: int, *more: str) -> bytes:
    assert main(["upscale", str(file), "-o", str(target), "--scale", str(scale), *more]) == 0
    return target.read_bytes()


@pytest.mark.parametrize("form", ["png", "jpeg", "webp", "tiff"])
@pytest.mark.parametrize("scale", [2, 4])
def test_http_and_command_line_give_the_same_bytes(chetko: RealServer, tmp_path: Path, form: str, scale: int) -> None:
    # A size that takes several tiles, none of which divides it.
    source = tmp_path / "photo.png"
    Image.open(EXAMPLES / "dog.jpg").crop((0, 0, 571, 443)).save(source)
    asked = through_http(chetko, source, scale=scale, format=form)
    assert asked == through_the_command_line(source, tmp_path / "large", scale, "--format", form, "--force")
    assert Image.open(io.BytesIO(asked)).size == (571 * scale, 443 * scale)


@needs_benchmarks
@pytest.mark.parametrize("scale", [2, 4])
def test_set5_keeps_the_promise(chetko: RealServer, tmp_path: Path, scale: int) -> None:
    reached = []
    for sharp in sorted((BENCHMARKS / "Set5" / "HR").glob("*.png")):
        small = BENCHMARKS / "Set5" / f"LR_x{scale}" / sharp.name
        data = through_http(chetko, small, scale=scale, format="png")
        assert data == through_the_command_line(small, tmp_path / sharp.name, scale)
        large = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        truth = read_picture(sharp)[: large.shape[0], : large.shape[1]]
        reached.append(psnr(*(shave(luma(each), scale) for each in (large, truth))))
    mean = float(np.mean(reached))
    assert mean >= PROMISED[scale]
    told = json.loads(MANIFEST.read_text())["scales"][str(scale)]["measured"]["Set5"]["psnr"]
    assert mean == pytest.approx(told, abs=0.01)
