"""What every shipped model promises, checked through the service's own code."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from app.imaging.picture import Picture
from app.inference.engine import Engine
from app.inference.enlarge import Limits, Options, enlarge
from app.inference.manifest import Manifest
from app.inference.registry import Registry, model_folders
from app.inference.upscale import upscale
from model_export.pictures import graphics, one_bit_noise, text, uniform_noise
from training.evaluation.datasets import sharp_pairs
from training.evaluation.restore import mean_scores, onnx_restorer

MODELS = Path(__file__).parents[2] / "app" / "models"
EXAMPLES = Path(__file__).parents[2] / "app" / "web" / "examples"
MANIFESTS = Registry.load(model_folders(None)).models()
SHIPPED = [(manifest.name, int(scale)) for manifest in MANIFESTS for scale in manifest.scales]


def _sizes(manifest: Manifest, scale: int) -> tuple[tuple[int, int], ...]:
    """Of pictures, the last of which is cut into tiles of 64 at least. Baselines, of which srcnn computes at the large
    size and is slow, are for pieces of pictures; a network of residual blocks takes ten times as long as a plain one,
    and vdsr, whose twenty layers are all of the large size, a hundred times."""
    work = manifest.scales[scale].multiply_adds_per_input_pixel
    if work > 2_000_000:
        return ((1, 1), (9, 75))
    if work > 300_000:
        return ((1, 1), (17, 233), (75, 49))
    return ((1, 1), (17, 233), (201, 150) if manifest.kind == "baseline" else (641, 481))


TILED = [
    (manifest.name, scale, size)
    for manifest in MANIFESTS
    for scale in manifest.scales
    for size in _sizes(manifest, scale)
]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine(Registry.load(model_folders(None)), platform="cpu") as made:
        yield made


def dog(height: int, width: int) -> np.ndarray:
    """The example photo, mirrored outwards to any size."""
    photo = np.asarray(Image.open(EXAMPLES / "dog.jpg").convert("RGB"))
    pad = [(0, max(0, size - have)) for size, have in zip((height, width), photo.shape, strict=False)]
    return np.pad(photo, [*pad, (0, 0)], mode="reflect")[:height, :width]


def picture_of(kind: str, height: int, width: int) -> np.ndarray:
    if kind == "photo":
        return np.ascontiguousarray(dog(height, width))
    made = {"text": text, "graphics": graphics, "uniform noise": uniform_noise, "1-bit noise": one_bit_noise}[kind](
        max(height, width)
    )
    return np.ascontiguousarray(made[:height, :width])


@pytest.mark.parametrize(
    ("name", "scale", "size"), TILED, ids=[f"{name}-x{scale}-{size[1]}x{size[0]}" for name, scale, size in TILED]
)
@pytest.mark.parametrize("kind", ["photo", "text", "graphics", "uniform noise", "1-bit noise"])
def test_tiled_equals_whole(engine: Engine, name: str, scale: int, kind: str, size: tuple[int, int]) -> None:
    image = picture_of(kind, *size)
    variant = engine.registry.find(name, scale)
    session = onnxruntime.InferenceSession(MODELS / name / f"x{scale}.onnx", providers=["CPUExecutionProvider"])
    whole = session.run(None, {"image": image[None]})[0][0].astype(np.int16)
    picture = Picture(pixels=image, alpha=None, source_format="png")
    for tile in (64, 128, 512, None):
        tiled = np.concatenate(list(upscale(picture, variant, engine, tile=tile).bands()))
        assert tiled.shape == whole.shape
        assert np.abs(tiled - whole).max() <= 1, f"kept square {tile}"


@pytest.mark.parametrize(("name", "scale"), SHIPPED)
def test_the_manifest_tells_the_truth_about_quality(engine: Engine, name: str, scale: int) -> None:
    pairs = sharp_pairs([EXAMPLES / "dog.jpg", EXAMPLES / "city.jpg"], scale)
    measured = mean_scores(onnx_restorer(MODELS / name / f"x{scale}.onnx"), pairs, scale)
    told = engine.registry.find(name, scale).entry.measured["examples"]
    assert measured["psnr"] == pytest.approx(told["psnr"], abs=0.01)
    assert measured["ssim"] == pytest.approx(told["ssim"], abs=0.001)


def test_all_that_is_shipped_stays_small() -> None:
    """40 MB of weights at most: who clones the repository or pulls the image pays for all of them."""
    assert sum(path.stat().st_size for path in MODELS.rglob("*") if path.is_file()) <= 40e6


def enlarged(engine: Engine, image: Image.Image, **options: object) -> Image.Image:
    source, target = io.BytesIO(), io.BytesIO()
    image.save(source, "PNG")
    source.seek(0)
    enlarge(source, target, Options(**options), engine, limits=Limits(max_input_pixels=None, max_output_pixels=None))
    target.seek(0)
    return Image.open(target)


@pytest.mark.parametrize("under", [0, 255])
def test_no_halo_around_what_was_transparent(engine: Engine, under: int) -> None:
    """An opaque red disc on nothing, enlarged, then laid on black and on white: no rim of another colour.

    ``under`` is the colour that editors leave under transparent pixels: black or white.
    """
    y, x = np.mgrid[:64, :64]
    inside = (y - 32) ** 2 + (x - 32) ** 2 < 20**2
    source = np.full((64, 64, 4), under, np.uint8)
    source[..., 3] = 0
    source[inside] = (200, 40, 40, 255)
    large = np.asarray(enlarged(engine, Image.fromarray(source), scale=4)).astype(float)
    alpha = large[..., 3:] / 255
    assert alpha.min() == 0.0
    assert alpha.max() == 1.0
    seen = alpha[..., 0] > 0.02
    for background in (0.0, 255.0):
        composed = large[..., :3] * alpha + background * (1 - alpha)
        ideal = np.array([200.0, 40.0, 40.0]) * alpha + background * (1 - alpha)
        assert np.abs(composed - ideal)[seen].max() <= 6


def test_a_16_bit_ramp_keeps_more_than_256_levels(engine: Engine) -> None:
    ramp = np.linspace(10_000, 14_000, 200).astype(np.uint16)
    image = Image.fromarray(np.tile(ramp, (40, 1)))
    assert image.mode == "I;16"
    large = enlarged(engine, image, scale=4, format="tiff")
    assert large.mode == "I;16"
    values = np.asarray(large)
    assert len(np.unique(values)) > 256
    # Eight bits know 15 steps on this ramp, 257 levels apart.
    expected = np.interp((np.arange(800) + 0.5) / 4 - 0.5, np.arange(200), ramp)
    assert np.abs(values[80, 40:-40] - expected[40:-40]).max() < 200


def test_grey_stays_grey_and_palette_becomes_rgb(engine: Engine) -> None:
    photo = Image.open(EXAMPLES / "kitten.jpg").crop((200, 120, 260, 160))
    assert enlarged(engine, photo.convert("L"), scale=4).mode == "L"
    assert enlarged(engine, photo.quantize(64), scale=4).mode == "RGB"
