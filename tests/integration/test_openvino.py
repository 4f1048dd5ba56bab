"""``chetko[openvino]``: bfloat16 as the service computes it, where onnxruntime-openvino is what is installed.

It cannot be installed beside another onnxruntime. So the slow test at the end makes an environment of its own and runs
the others, and the test of strips, in there.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from app.imaging.likeness import psnr
from app.imaging.picture import Pixels
from app.inference import openvino
from app.inference.cpus import multiplies_bf16
from app.inference.device import choose_device
from app.inference.engine import Engine
from app.inference.openvino import OPENVINO
from app.inference.registry import Registry, model_folders
from benchmarks.openvino import Bench, enlarged, levels
from model_export.pictures import proving_set
from tests.integration.http.live import real_server

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "app" / "web" / "examples"
REGISTRY = Registry.load(model_folders())
ALLOWED = [
    (manifest.name, scale)
    for manifest in REGISTRY.models()
    for scale, entry in manifest.scales.items()
    if entry.allows_bf16
]

needs_openvino = pytest.mark.skipif(
    not openvino.installed() or not multiplies_bf16(),
    reason="onnxruntime-openvino is not what is installed, or the processor does not multiply bfloat16",
)


@pytest.fixture(scope="module")
def exact() -> Iterator[Engine]:
    with Engine(REGISTRY, platform="cpu", threads=2, precision="float32") as made:
        yield made


@pytest.fixture(scope="module")
def quick() -> Iterator[Engine]:
    """In bfloat16, whether it is quick on this processor or not."""
    with Engine(REGISTRY, platform="cpu", threads=2, precision="bfloat16") as made:
        yield made


def dog(height: int, width: int) -> Pixels:
    return np.asarray(Image.open(EXAMPLES / "dog.jpg").convert("RGB"))[:height, :width]


def pictures() -> dict[str, Pixels]:
    return {"photo": dog(150, 201)} | proving_set([])


def made(pixels: Pixels, engine: Engine, name: str, scale: int, *, tile: int | None = None) -> Pixels:
    return enlarged(pixels, engine, engine.registry.find(name, scale), tile=tile)


@needs_openvino
def test_auto_takes_it_where_it_is_faster(exact: Engine, quick: Engine) -> None:
    """Measured with a network of ours, in rounds that alternate."""
    ways = [(engine, engine.registry.find("fast", 4)) for engine in (exact, quick)]
    shortest = [min(each) for each in zip(*Bench.rounds(ways, edge=200, rounds=6), strict=True)]
    took = shortest[1] / shortest[0]
    # Between the two bounds either answer may come, and neither matters.
    assert took < 1.1 if choose_device("cpu", 2).bf16 else took > 0.8


@needs_openvino
def test_the_shipped_models_run_on_it(quick: Engine) -> None:
    assert ALLOWED
    assert "in bfloat16 by OpenVINO where a model allows it" in quick.device.sentence()
    for manifest in REGISTRY.models():
        for scale, entry in manifest.scales.items():
            variant = REGISTRY.find(manifest.name, scale)
            expected = OPENVINO if entry.allows_bf16 else "CPUExecutionProvider"
            assert quick.graph(variant, "uint8").provider == expected
            assert quick.graph(variant, "float").provider == "CPUExecutionProvider", "16 bits do not fit bfloat16"


@needs_openvino
@pytest.mark.parametrize(("name", "scale"), ALLOWED)
def test_it_is_near_float32_and_has_no_seams(exact: Engine, quick: Engine, name: str, scale: int) -> None:
    for kind, picture in pictures().items():
        whole = made(picture, quick, name, scale)
        reference = made(picture, exact, name, scale)
        assert levels(whole, reference) <= 8, kind
        assert psnr(whole.astype(float), reference.astype(float)) > 50, kind
        for tile in (40, 64):
            assert levels(made(picture, quick, name, scale, tile=tile), whole) <= 2, kind


@needs_openvino
def test_16_bit_pictures_are_exact(exact: Engine, quick: Engine) -> None:
    deep = dog(90, 120).astype(np.uint16) * 257
    np.testing.assert_array_equal(made(deep, quick, "fast", 2), made(deep, exact, "fast", 2))


@needs_openvino
def test_pictures_at_once_are_the_pictures_alone(quick: Engine) -> None:
    cut = [dog(height, width) for height, width in ((90, 120), (64, 64), (33, 150), (120, 90))]
    alone = [made(each, quick, "fast", 4) for each in cut]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda number: made(cut[number % 4], quick, "fast", 4), range(32)))
    for number, each in enumerate(together):
        np.testing.assert_array_equal(each, alone[number % 4])


@needs_openvino
def test_nothing_spins_between_two_pictures(quick: Engine) -> None:
    made(dog(200, 200), quick, "fast", 4)
    time.sleep(0.3)
    began = time.process_time()
    time.sleep(1)
    assert time.process_time() - began < 0.1


@needs_openvino
def test_service_and_command_line_give_the_same_bytes_and_float32_can_be_asked_for(tmp_path: Path) -> None:
    source = tmp_path / "photo.png"
    Image.fromarray(dog(300, 400)).save(source)
    results = {}
    for precision in ("bfloat16", "float32"):
        target = tmp_path / f"{precision}.png"
        told = subprocess.run(
            [sys.executable, "-m", "app.cli", "upscale", str(source), "-o", str(target), "-v"],
            env=os.environ | {"CHETKO_PRECISION": precision, "CHETKO_PLATFORM": "cpu"},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        results[precision] = target.read_bytes()
        assert f"provider {OPENVINO if precision == 'bfloat16' else 'CPUExecutionProvider'}" in told.stdout
        with real_server(CHETKO_PRECISION=precision, CHETKO_PLATFORM="cpu") as server:
            answer = httpx.post(
                f"{server.url}/v1/upscale", params={"scale": 4}, files={"image": source.read_bytes()}, timeout=120
            )
        assert answer.content == results[precision]
    quick, exact = (np.asarray(Image.open(io.BytesIO(results[each]))) for each in ("bfloat16", "float32"))
    assert 0 < levels(quick, exact) <= 8


@needs_openvino
@pytest.mark.parametrize("threads", [1, 2])
def test_after_missing_memory_it_goes_on_with_less(threads: int) -> None:
    """In a process of its own, whose address space is limited to 30 MiB more than it has. With one thread OpenVINO
    raises nothing, and gives the answer of the run before."""
    script = """
        import re, resource, sys
        from pathlib import Path
        import numpy as np
        from app.inference.engine import Engine
        from app.inference.errors import DeviceOutOfMemoryError
        from app.inference.registry import Registry, model_folders

        registry = Registry.load(model_folders())
        with Engine(registry, platform="cpu", threads=int(sys.argv[1]), precision="bfloat16") as engine:
            graph = engine.graph(registry.find("fast", 4), "uint8")
            small = np.random.default_rng(0).integers(0, 256, (1, 32, 40, 3), np.uint8)
            expected = graph.run(small)
            has = int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
            resource.setrlimit(resource.RLIMIT_AS, (has + 30 * 2**20, -1))
            for _ in range(3):
                try:
                    graph.run(np.zeros((1, 700, 900, 3), np.uint8))
                except DeviceOutOfMemoryError:
                    np.testing.assert_array_equal(graph.run(small), expected)
                else:
                    raise AssertionError("that fits")
        """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script), str(threads)], cwd=ROOT, check=True)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(openvino.installed(), reason="onnxruntime-openvino is installed here")
def test_all_of_this_in_an_environment_of_its_own(tmp_path: Path) -> None:
    """Installs ``.[openvino]`` as a user does, and what tests need besides."""
    tree = tmp_path / "tree"
    for part in ("app", "training", "model_export"):
        shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, tree)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv/bin/python"
    wanted = [f"{tree}[openvino]", "certifi", "httpx", "hypothesis", "onnx>=1.17", "psutil", "pytest", "pytest-timeout"]
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-qq", "--disable-pip-version-check"]
    subprocess.run([*pip, *wanted], check=True)

    environment = {
        name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "CHETKO_TEST_STRICT"}
    }
    shown = subprocess.run(
        [python.with_name("chetko"), "upscale", str(EXAMPLES / "kitten.jpg"), "-o", str(tmp_path / "large.png"), "-v"],
        env=environment | {"CHETKO_PRECISION": "bfloat16" if multiplies_bf16() else "auto"},
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert f"provider {OPENVINO if multiplies_bf16() else 'CPUExecutionProvider'}" in shown.stdout
    assert Image.open(tmp_path / "large.png").size == (1920, 1300)

    subprocess.run(
        [
            python, "-m", "pytest", "-q", "-m", "not slow", "-p", "no:cacheprovider",
            "tests/integration/test_openvino.py", "tests/unit/inference/test_strips.py",
            "tests/unit/inference/test_engine.py", "tests/unit/inference/test_upscale.py",
        ],
        env=environment, cwd=ROOT, check=True,
    )  # fmt: skip
