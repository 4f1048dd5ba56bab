from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F

from model_export.cli import main
from model_export.measure import halo_holds, measured_halo, multiply_adds
from model_export.pictures import one_bit_noise, proving_set
from model_export.srvgg import to_srvgg
from training.checkpoint import save_checkpoint
from training.evaluation.restore import torch_restorer
from training.networks.fast import NEGATIVE_SLOPE, Fast


def network(scale: int = 2, layers: int = 4) -> Fast:
    torch.manual_seed(1)
    made = Fast(scale, layers, 12)
    torch.nn.init.normal_(made.body[-1].weight, std=0.1)
    return made.eval()


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    made = network()
    state = {
        "network": "fast", "network_options": made.options, "recipe": {"seed": 0}, "step": 3, "seconds": 1.0,
        "ema": made.state_dict(), "weights": made.state_dict(),
    }  # fmt: skip
    save_checkpoint(tmp_path / "last.pt", state)
    return tmp_path / "last.pt"


def test_an_exported_model_keeps_the_contract(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "tiny"
    assert main([str(checkpoint), "-o", str(folder)]) == 0
    manifest = json.loads((folder / "manifest.json").read_text())
    entry = manifest["scales"]["2"]
    for kind in ("uint8", "float"):
        data = (folder / entry["files"][kind]["file"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == entry["files"][kind]["sha256"]
    session = onnxruntime.InferenceSession(folder / "x2.onnx", providers=["CPUExecutionProvider"])
    for shape in ((1, 1, 1, 3), (2, 17, 33, 3)):
        image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        out = session.run(["upscaled"], {"image": image})[0]
        assert out.dtype == np.uint8
        assert out.shape == (shape[0], shape[1] * 2, shape[2] * 2, 3)
    # Stored in half precision: the reference must be rounded likewise to be compared.
    with torch.no_grad():
        rounded = network().half().float()
    image = one_bit_noise(64)
    np.testing.assert_allclose(session.run(None, {"image": image[None]})[0][0], torch_restorer(rounded)(image), atol=1)
    twin = onnxruntime.InferenceSession(folder / "x2.float.onnx", providers=["CPUExecutionProvider"])
    out = twin.run(None, {"image": image[None].astype(np.float32) / 255})[0]
    assert out.dtype == np.float32
    assert out.min() >= 0
    assert out.max() <= 1
    assert np.abs(np.rint(out[0] * 255) - session.run(None, {"image": image[None]})[0][0]).max() <= 1


def test_a_second_export_of_a_scale_raises_the_version(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    versions = []
    for _ in range(2):
        assert main([str(checkpoint), "-o", str(folder)]) == 0
        versions.append(json.loads((folder / "manifest.json").read_text())["version"])
    assert versions == ["1.0.0", "1.0.1"]


def test_multiply_adds_of_a_known_network() -> None:
    expected = 9 * (3 * 12 + 12 * 12 + 12 * 12 + 12 * 12)
    assert multiply_adds(network(scale=2)) == expected


def test_a_halo_smaller_than_the_measured_one_shows_seams() -> None:
    restore = torch_restorer(network(layers=5))
    pictures = proving_set([])
    halo = measured_halo(restore, pictures.values(), 2, radius=5)
    wholes = [(image, restore(image)) for image in pictures.values()]
    assert 1 <= halo <= 5
    assert halo_holds(restore, wholes, 2, halo)
    assert not halo_holds(restore, wholes, 2, 0)


def test_the_srvgg_layout_computes_the_same() -> None:
    made = network(scale=4)
    state = to_srvgg(made)
    image = torch.rand(1, 3, 20, 24)
    out = image
    for index in range(len(made.body)):
        out = (
            F.conv2d(out, state[f"body.{index}.weight"], state[f"body.{index}.bias"], padding=1)
            if f"body.{index}.bias" in state
            else F.prelu(out, state[f"body.{index}.weight"])
        )
    out = F.pixel_shuffle(out, 4) + F.interpolate(image, scale_factor=4, mode="nearest")
    torch.testing.assert_close(out, made(image))
    assert state["body.1.weight"].unique().tolist() == pytest.approx([NEGATIVE_SLOPE])


def test_say_where_to_or_be_told(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([str(checkpoint)])
    assert "-o DIR" in capsys.readouterr().err
    assert main([str(checkpoint.with_name("no.pt")), "-o", "x"]) == 1
