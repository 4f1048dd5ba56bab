"""A 24-megapixel photo, four times larger, in bounded memory, and right wherever one looks."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
import psutil
import pytest
import pyvips
import tifffile
from PIL import Image

ROOT = Path(__file__).parents[2]
WIDTH, HEIGHT, SCALE = 6000, 4000, 4
PEAK_MB = 700
PLACES = 1000


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo of 6000 x 4000: the examples laid over and over each other, each time another part and turned."""
    random = np.random.default_rng(0)
    large = Image.new("RGB", (WIDTH, HEIGHT))
    parts = [Image.open(ROOT / f"app/web/examples/{name}.jpg").convert("RGB") for name in ("dog", "city", "kitten")]
    for top in range(0, HEIGHT, 250):
        for left in range(0, WIDTH, 300):
            part = parts[random.integers(3)]
            x, y = (int(random.integers(side - edge)) for side, edge in zip(part.size, (300, 250), strict=True))
            piece = part.crop((x, y, x + 300, y + 250))
            large.paste(piece.transpose(Image.Transpose.ROTATE_180) if random.integers(2) else piece, (left, top))
    path = tmp_path_factory.mktemp("large") / "photo.jpg"
    large.save(path, quality=92)
    return path


def peak_of(command: list[str]) -> float:
    """Runs ``command``; the most memory in MB that its process tree held at once (resident, shared pages counted once
    per process), sampled every 20 ms."""
    process = psutil.Popen(command)
    peak = 0
    try:
        while process.poll() is None:
            total = 0
            for each in [process, *process.children(recursive=True)]:
                try:
                    total += each.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            peak = max(peak, total)
            time.sleep(0.02)
    finally:
        if process.poll() is None:  # a test that runs into its time limit must not leave it computing
            process.kill()
            process.wait()
    assert process.returncode == 0
    return peak / 2**20


def regions(path: Path, places: list[tuple[int, int]], edge: int) -> list[np.ndarray]:
    """The (edge, edge, 3) regions of the picture at ``path`` at (top, left) ``places``, read without the whole."""
    if path.suffix == ".tiff":
        pixels = tifffile.memmap(path) if tifffile.TiffFile(path).pages[0].is_memmappable else tifffile.imread(path)
        return [np.asarray(pixels[top : top + edge, left : left + edge]) for top, left in places]
    image = pyvips.Image.new_from_file(str(path)).copy_memory()
    return [image.crop(left, top, edge, edge).numpy() for top, left in places]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("extension", ["png", "tiff", "jpg"])
def test_memory_is_bounded_and_every_place_is_right(photo: Path, tmp_path: Path, extension: str) -> None:
    target = tmp_path / f"large.{extension}"
    began = time.monotonic()
    peak = peak_of([sys.executable, "-m", "app.cli", "upscale", str(photo), "-o", str(target)])
    told = f"{peak:.0f} MB at most, {time.monotonic() - began:.0f} s, file of {target.stat().st_size / 1e6:.0f} MB"
    print(extension, told)  # noqa: T201  (shown by pytest -rP: the figures for the closing note)
    assert peak <= PEAK_MB
    if extension == "jpg":
        # JPEG is not lossless: its size and that it decodes to the end are what can be checked exactly.
        subprocess.run([sys.executable, "-c", f"from PIL import Image; Image.MAX_IMAGE_PIXELS=None; "
                        f"i=Image.open({str(target)!r}); i.draft('RGB', (3000, 2000)); i.load(); "
                        f"assert i.size[0] * 8 == {WIDTH * SCALE}"], check=True)  # fmt: skip
        return
    source = np.asarray(Image.open(photo))
    session = onnxruntime.InferenceSession(ROOT / "app/models/fast/x4.onnx", providers=["CPUExecutionProvider"])
    random = np.random.default_rng(1)
    margin, edge = 12, 8  # more than the receptive field's radius around each place
    places = [(int(random.integers(HEIGHT - edge)), int(random.integers(WIDTH - edge))) for _ in range(PLACES)]
    # Corners and edges, where a mistake would hide.
    places[:4] = [(0, 0), (0, WIDTH - edge), (HEIGHT - edge, 0), (HEIGHT - edge, WIDTH - edge)]
    found = regions(target, [(top * SCALE, left * SCALE) for top, left in places], edge * SCALE)
    for (top, left), region in zip(places, found, strict=True):
        y, x = max(0, top - margin), max(0, left - margin)
        around = source[y : top + edge + margin, x : left + edge + margin]
        whole = session.run(None, {"image": np.ascontiguousarray(around)[None]})[0][0]
        expected = whole[(top - y) * SCALE :, (left - x) * SCALE :][: edge * SCALE, : edge * SCALE]
        assert np.abs(region.astype(np.int16) - expected).max() <= 1, f"at row {top}, column {left}"
