"""int8 and the rules by which a smaller precision is kept or left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper

from model_export import precisions
from model_export.half import rounded_everywhere
from model_export.int8 import inner_convolutions, quantize
from model_export.measure import Difference, differences
from model_export.pictures import calibration_set, proving_set
from model_export.precisions import Ground, LeftOutError, Precision
from model_export.serving import OPSET, for_bytes, for_bytes_in_half, write_onnx
from training.evaluation.restore import mean_scores, onnx_restorer

EXAMPLES = Path(__file__).parents[3] / "app" / "web" / "examples"
PHOTOS = [EXAMPLES / "kitten.jpg"]


def network(layers: int, channels: int = 16) -> onnx.ModelProto:
    """Random 3x3 convolutions with LeakyReLU and a x2 shuffle, as ``to_onnx`` would give them."""
    random = np.random.default_rng(0)
    nodes, tensors, features, width = [], [], "planes", 3
    for layer in range(layers):
        last = layer == layers - 1
        made = 12 if last else channels
        weights = random.normal(0, (2 / (9 * width)) ** 0.5 * (0.5 if last else 1), (made, width, 3, 3))
        tensors += [numpy_helper.from_array(weights.astype(np.float32), f"w{layer}")]
        nodes.append(helper.make_node("Conv", [features, f"w{layer}"], [f"c{layer}"], f"conv{layer}", pads=[1] * 4))
        features, width = f"c{layer}", made
        if not last:
            nodes.append(helper.make_node("LeakyRelu", [features], [f"a{layer}"], f"leaky{layer}", alpha=0.1))
            features = f"a{layer}"
    nodes.append(helper.make_node("DepthToSpace", [features], ["enlarged"], "shuffle", blocksize=2, mode="CRD"))
    planes = helper.make_tensor_value_info("planes", TensorProto.FLOAT, ["n", 3, "h", "w"])
    enlarged = helper.make_tensor_value_info("enlarged", TensorProto.FLOAT, ["n", 3, "sh", "sw"])
    graph = helper.make_graph(nodes, "random", [planes], [enlarged], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)


@pytest.fixture(scope="module")
def graph() -> onnx.ModelProto:
    return network(4)


@pytest.fixture(scope="module")
def ground(graph: onnx.ModelProto, tmp_path_factory: pytest.TempPathFactory) -> tuple[Ground, Precision]:
    """The float32 file stands for PyTorch too; its own answers are the sharp pictures, so that PSNR is what the
    smaller precision loses alone."""
    path = tmp_path_factory.mktemp("full") / "x2.onnx"
    path.write_bytes(for_bytes(graph).SerializeToString())
    restore = onnx_restorer(path)
    own = {name: (image, restore(image)) for name, image in proving_set(PHOTOS).items()}
    noise = np.random.default_rng(5).normal(0, 24, own["kitten"][1].shape)
    sharp = np.clip(own["kitten"][1] + noise, 0, 255).astype(np.uint8)
    sets = {"set": [(own["kitten"][0], sharp)]}
    psnr = {"set": mean_scores(restore, sets["set"], 2)["psnr"]}
    return Ground(2, PHOTOS, own, sets), Precision(path, restore, differences(restore, own), psnr)


def test_inner_convolutions_become_int8_per_channel_and_the_outer_ones_stay(graph: onnx.ModelProto) -> None:
    made = quantize(for_bytes(graph), calibration_set(PHOTOS))
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}
    weights = {node.name: node.input[1] for node in made.graph.node if node.op_type == "Conv"}
    inner = inner_convolutions(for_bytes(graph))
    assert len(weights) == 4
    assert len(inner) == 2
    sources = {node.output[0]: node for node in made.graph.node}
    for name, weight in weights.items():
        if name in inner:
            dequantized = sources[weight]
            assert tensors[dequantized.input[0]].dtype == np.int8
            assert np.abs(tensors[dequantized.input[0]]).max() <= 64, "7 bits: pairs of products fit 16"
            assert tensors[dequantized.input[1]].shape == (16,), "a scale per output channel"
        else:
            assert tensors[weight].dtype == np.float32


def test_calibration_shares_no_picture_with_the_proof() -> None:
    proving = [image.tobytes() for image in proving_set(PHOTOS).values()]
    calibrating = [image.tobytes() for image in calibration_set(PHOTOS)]
    assert len(calibrating) == len(proving)
    assert not set(proving) & set(calibrating)


def test_calibrated_on_a_photo_alone_it_would_be_far_off_on_noise(
    graph: onnx.ModelProto, ground: tuple[Ground, Precision], tmp_path: Path
) -> None:
    """Why the calibration set is what it is."""
    off = []
    for number, calibration in enumerate((calibration_set(PHOTOS), [np.full((40, 40, 3), 128, np.uint8)])):
        path = tmp_path / f"{number}.onnx"
        path.write_bytes(quantize(for_bytes(graph), calibration).SerializeToString())
        off.append(differences(onnx_restorer(path), ground[0].own).largest["one-bit-noise"])
    assert off[0] <= 32 < off[1]


def test_it_is_kept_when_it_is_near_and_faster(
    graph: onnx.ModelProto, ground: tuple[Ground, Precision], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precisions, "speedup", lambda *_: 1.234)
    kept = precisions.int8(graph, tmp_path / "x2.int8.onnx", *ground)
    told = kept.document()
    assert told["speedup"] == 1.23
    assert told["psnr"]["set"] == pytest.approx(ground[1].psnr["set"], abs=0.1)
    assert 0 < max(told["largest_difference"].values()) <= 32
    assert (tmp_path / "x2.int8.onnx").stat().st_size > 0


@pytest.mark.parametrize(
    ("rule", "value", "sentence"),
    [
        ("INT8_LEVELS", 0, r"it is off by \d+ levels on \S+, and 0 are let pass"),
        ("MOST_PSNR_LOSS", -1.0, r"it loses -?\d\.\d\d dB on set, and -1 are let pass"),
        ("LEAST_SPEEDUP", 1e9, r"it is \d+\.\d\d times as fast as float32"),
    ],
    ids=["distance", "psnr", "speed"],
)
def test_each_rule_leaves_it_out_with_a_sentence(
    graph: onnx.ModelProto, ground: tuple[Ground, Precision], tmp_path: Path, *, rule: str, value: float, sentence: str
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precisions, rule, value)
        with pytest.raises(LeftOutError, match=sentence):
            precisions.int8(graph, tmp_path / "x2.int8.onnx", *ground)


def test_there_must_be_something_to_quantize(ground: tuple[Ground, Precision], tmp_path: Path) -> None:
    with pytest.raises(LeftOutError, match="no convolution between"):
        precisions.int8(network(2), tmp_path / "x.onnx", *ground)


def test_bfloat16_is_measured_with_everything_rounded(graph: onnx.ModelProto, ground: tuple[Ground, Precision]) -> None:
    kept = precisions.bfloat16(for_bytes(graph), *ground)
    assert kept.path == ground[1].path, "it needs no file of its own"
    image = ground[0].own["one-bit-noise"][0][:48, :48]
    weights = [torch.tensor(numpy_helper.to_array(tensor)).bfloat16() for tensor in graph.graph.initializer]
    features = (torch.tensor(image).permute(2, 0, 1)[None].float() / 255.0).bfloat16()
    for index, weight in enumerate(weights):
        features = F.conv2d(features.float(), weight.float(), padding=1).bfloat16()
        features = F.leaky_relu(features, 0.1) if index < len(weights) - 1 else features
    levels = (F.pixel_shuffle(features, 2).clamp(0, 1) * 255).round()[0].permute(1, 2, 0).float().numpy().astype(int)
    off = np.abs(kept.restore(image).astype(int) - levels)
    in_full = np.abs(ground[1].restore(image).astype(int) - levels)
    assert off.max() <= 1
    assert off.mean() < in_full.mean() / 3


def test_bfloat16_is_left_out_where_it_loses_too_much_or_gains_nothing(
    graph: onnx.ModelProto, ground: tuple[Ground, Precision], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(LeftOutError, match="no convolution between"):
        precisions.bfloat16(for_bytes(network(2)), *ground)
    monkeypatch.setattr(precisions, "BFLOAT16_LEVELS", 0)
    with pytest.raises(LeftOutError, match=r"it is off by \d levels on \S+, and 0 are let pass"):
        precisions.bfloat16(for_bytes(graph), *ground)


def test_half_precision_is_measured_as_pytorch_computes_it(
    graph: onnx.ModelProto, ground: tuple[Ground, Precision], tmp_path: Path
) -> None:
    kept = precisions.float16(graph, tmp_path / "x2.fp16.onnx", *ground)
    tensors = onnx.load(kept.path).graph.initializer
    assert {tensor.data_type for tensor in tensors} == {TensorProto.FLOAT16}
    image = ground[0].own["one-bit-noise"][0][:48, :48]
    weights = [torch.tensor(numpy_helper.to_array(tensor)).half() for tensor in graph.graph.initializer]
    features = torch.tensor(image).permute(2, 0, 1)[None].half() / 255.0
    for index, weight in enumerate(weights):
        features = F.conv2d(features, weight, padding=1)
        features = F.leaky_relu(features, 0.1) if index < len(weights) - 1 else features
    exact = (F.pixel_shuffle(features, 2).clamp(0, 1) * 255).round()[0].permute(1, 2, 0).numpy().astype(int)
    off = np.abs(kept.restore(image).astype(int) - exact)
    in_full = np.abs(onnx_restorer(kept.path)(image).astype(int) - exact)
    assert off.max() <= 1
    assert off.mean() < in_full.mean() / 3, "the file on the CPU computes in float32"


def test_half_precision_that_overflows_says_so_and_is_left_out(
    graph: onnx.ModelProto, ground: tuple[Ground, Precision], tmp_path: Path
) -> None:
    """Three layers with a gain of 200 that the last one takes back: float32 does not mind."""
    loud = onnx.ModelProto()
    loud.CopyFrom(graph)
    for tensor, gain in zip(loud.graph.initializer, (200.0, 200.0, 200.0, 200.0**-3), strict=True):
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(gain), tensor.name))
    with pytest.raises(LeftOutError, match="it overflows"):
        precisions.float16(loud, tmp_path / "x2.fp16.onnx", *ground)
    session = onnxruntime.InferenceSession(
        rounded_everywhere(for_bytes_in_half(loud)).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    black = np.zeros((1, 8, 8, 3), np.uint8)
    assert session.run(["finite"], {"image": black})[0]
    black[0, 4, 4] = 255
    assert not session.run(["finite"], {"image": black})[0]


def test_a_resize_keeps_its_factors_in_full(tmp_path: Path) -> None:
    model = network(2)
    skip = helper.make_node("Resize", ["planes", "", "factors"], ["skip"], "resize", mode="linear")
    add = helper.make_node("Add", ["shuffled", "skip"], ["enlarged"], "add")
    model.graph.node[-1].output[0] = "shuffled"
    model.graph.node.extend([skip, add])
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "factors"))
    write_onnx(for_bytes(model), tmp_path / "full.onnx")
    write_onnx(for_bytes_in_half(model), tmp_path / "half.onnx")
    image = proving_set([])["text"]
    full, half = (onnx_restorer(tmp_path / f"{name}.onnx")(image).astype(int) for name in ("full", "half"))
    assert np.abs(full - half).max() <= 2


def test_a_difference_is_told_per_picture_and_averaged_over_all() -> None:
    black = np.zeros((2, 2, 3), np.uint8)
    one = black.copy()
    one[0, 0, 0] = 6
    made = differences(lambda image: image, {"a": (black, one), "b": (black, black)})
    assert made == Difference({"a": 6, "b": 0}, 6 / 24)
    assert made.worst == 6
