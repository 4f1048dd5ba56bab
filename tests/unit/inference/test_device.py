"""Whether OpenVINO is chosen, and what is told of it; onnxruntime's answers are stand-ins."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from app.inference import openvino
from app.inference.device import Platform, choose_device
from app.inference.engine import Engine
from app.inference.errors import DeviceOutOfMemoryError, PlatformUnavailableError
from app.inference.graph import Graph
from app.inference.openvino import OPENVINO
from app.inference.registry import Registry
from tests import models

Sessions = list[tuple[Any, ...]]
"""Providers of each session that was made."""


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> Sessions:
    """onnxruntime with OpenVINO, on a processor that multiplies bfloat16 in half the time."""
    made: Sessions = []

    def session(*_: Any, providers: list[Any], **__: Any) -> Any:
        made.append(tuple(providers))
        names = [each if isinstance(each, str) else each[0] for each in providers]
        output = SimpleNamespace(name="upscaled")
        return SimpleNamespace(get_providers=lambda: names, get_outputs=lambda: [output])

    monkeypatch.setattr(ort, "get_available_providers", lambda: [OPENVINO, "CPUExecutionProvider"])
    monkeypatch.setattr(ort, "InferenceSession", session)
    monkeypatch.setattr(openvino, "multiplies_bf16", lambda: True)
    monkeypatch.setattr(openvino, "time_beside_float32", lambda: 0.5)
    return made


def test_openvino_computes_bfloat16_where_the_processor_multiplies_it(sessions: Sessions) -> None:
    device = choose_device("cpu", 3)
    assert device.bf16
    assert (device.name, device.provider) == ("cpu", "CPUExecutionProvider"), "the rest stays where it was"
    assert device.sentence() == (
        "Models run on the CPU with 3 threads, in bfloat16 by OpenVINO where a model allows it. "
        "The platform cpu was chosen."
    )
    device.session(b"", bf16=True)
    (name, options), fallback = sessions[-1]
    assert (name, fallback) == (OPENVINO, "CPUExecutionProvider")
    assert options["num_of_threads"] == "3"
    config = json.loads(options["load_config"])["CPU"]
    assert config["INFERENCE_PRECISION_HINT"] == "bf16"
    assert config["ENABLE_CPU_PINNING"] == "NO", "several workers must not share their first cores"
    device.session(b"")
    assert sessions[-1] == (("CPUExecutionProvider", {}),)


def test_auto_takes_it_too_and_names_the_extra_that_is_installed(sessions: Sessions) -> None:
    device = choose_device("auto", 2)
    assert device.bf16
    assert "install chetko[gpu] in place of chetko[openvino]" in device.sentence()


def test_float32_can_be_asked_for(sessions: Sessions) -> None:
    device = choose_device("cpu", 2, precision="float32")
    assert not device.bf16
    assert "2 threads, in float32 as CHETKO_PRECISION says. " in device.sentence()
    assert sessions == [], "OpenVINO is not even loaded"


def test_a_processor_without_bfloat16_keeps_onnxruntime(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino, "multiplies_bf16", lambda: False)
    device = choose_device("cpu", 2)
    assert not device.bf16
    assert "in float32 without OpenVINO: this processor has no instructions for bfloat16. " in device.sentence()


@pytest.mark.parametrize(("took", "taken"), [(0.4, True), (0.89, True), (0.95, False), (1.8, False)])
def test_a_processor_that_multiplies_it_slowly_keeps_onnxruntime(
    sessions: Sessions, took: float, taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino, "time_beside_float32", lambda: took)
    device = choose_device("cpu", 2)
    assert device.bf16 is taken
    told = f"in float32 without OpenVINO: bfloat16 takes {took:.1f} times as long on this processor. "
    assert (told in device.sentence()) is not taken


@pytest.mark.parametrize("platform", ["cpu", "auto"])
def test_bfloat16_that_is_asked_for_is_not_measured(
    sessions: Sessions, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino, "time_beside_float32", lambda: pytest.fail("not asked for"))
    device = choose_device(platform, 2, precision="bfloat16")
    assert (device.name, device.bf16) == ("cpu", True)
    assert "2 threads, in bfloat16 by OpenVINO where a model allows it, as CHETKO_PRECISION says. " in device.sentence()


def test_bfloat16_that_cannot_be_had_is_refused(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PlatformUnavailableError, match="computed on the CPU: set CHETKO_PRECISION to auto or float32"):
        choose_device("gpu", 2, precision="bfloat16")
    monkeypatch.setattr(openvino, "multiplies_bf16", lambda: False)
    with pytest.raises(PlatformUnavailableError, match=r"no instructions for bfloat16\. Set CHETKO_PRECISION to auto"):
        choose_device("cpu", 2, precision="bfloat16")
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(PlatformUnavailableError, match=r"not installed \(chetko\[openvino\]\)"):
        choose_device("cpu", 2, precision="bfloat16")


def test_what_is_measured_is_the_convolutions_of_fast() -> None:
    """The bytes are those that onnx makes of the description, and all that they do is done when they are loaded or in
    the convolutions."""
    channels, edge = openvino.CHANNELS, openvino.EDGE
    weights = helper.make_tensor("v", TensorProto.FLOAT, [1], [1 / (9 * channels)])
    nodes = [helper.make_node("ConstantOfShape", ["s"], ["w"], value=weights)]
    names = ["x", "0", "1", "2", "y"]
    nodes += [
        helper.make_node("Conv", [given, "w"], [made], pads=[1, 1, 1, 1]) for given, made in itertools.pairwise(names)
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, edge, edge]) for name in "xy"]
    shape = helper.make_tensor("s", TensorProto.INT64, [4], [channels, channels, 3, 3])
    graph = helper.make_graph(nodes, "p", ends[:1], ends[1:], [shape])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    assert model.SerializeToString() == openvino.CONVOLUTIONS
    ran = ort.InferenceSession(openvino.CONVOLUTIONS, providers=["CPUExecutionProvider"])
    (made,) = ran.run(None, {"x": np.ones((1, channels, edge, edge), np.float32)})
    np.testing.assert_allclose(made[0, :, 4:-4, 4:-4], 1, atol=1e-5)


@pytest.mark.parametrize(
    ("session", "told"),
    [
        (lambda *_, **__: SimpleNamespace(get_providers=lambda: ["CPUExecutionProvider"]), "cannot be loaded"),
        (Mock(side_effect=RuntimeError("no libtbb")), "does not work (no libtbb)"),
    ],
    ids=["quietly without", "an error"],
)
def test_a_provider_that_does_not_work_is_not_taken(
    sessions: Sessions, session: Any, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ort, "InferenceSession", session)
    device = choose_device("cpu", 2)
    assert not device.bf16
    assert told in device.sentence()


def test_where_openvino_is_not_installed_nothing_is_told_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    for precision in ("auto", "float32"):
        device = choose_device("cpu", 2, precision=precision)
        assert not device.bf16
        assert device.sentence() == "Models run on the CPU with 2 threads. The platform cpu was chosen."


def test_only_bytes_of_models_that_allow_it_are_computed_in_bfloat16(tmp_path: Path, sessions: Sessions) -> None:
    models.write_model(tmp_path, "allowed", entry={"precisions": {"float32": {}, "bfloat16": {}}})
    models.write_model(tmp_path, "exact")
    registry = Registry.load([tmp_path])
    with Engine(registry, platform="cpu", threads=2) as engine:
        found = {
            (name, kind): engine.graph(registry.find(name, 2), kind).provider
            for name in ("allowed", "exact")
            for kind in ("uint8", "float")
        }
    assert [key for key, provider in found.items() if provider == OPENVINO] == [("allowed", "uint8")]
    told = [registry.find(name, 2).entry.served_precisions for name in ("allowed", "exact")]
    assert told == [["float32", "bfloat16"], ["float32"]]


_LARGE = np.zeros((1, 2, 2, 3), np.uint8)
_ANSWER = np.zeros((1, 4, 4, 3), np.uint8)
_NO_MEMORY = RuntimeError(
    "Check 'ptr' failed at src/plugins/intel_cpu/src/cpu_memory.cpp:257:\nFailed to allocate 47 bytes"
)


@pytest.mark.parametrize(
    ("scale", "first", "sessions_made"),
    [(2, _NO_MEMORY, 2), (2, [np.zeros((1, 2, 2, 3), np.uint8)], 2), (None, _NO_MEMORY, 1)],
    ids=["an error", "quietly the answer of the run before", "onnxruntime itself"],
)
def test_a_session_of_openvino_that_failed_is_opened_anew(scale: int | None, first: Any, sessions_made: int) -> None:
    """It would go on failing, for the memory that the large tile had lacked."""
    answers = iter([first, [_ANSWER]])
    made = []

    def session(*_: Any, **__: Any) -> Any:
        made.append(SimpleNamespace(
            run=Mock(side_effect=answers),
            get_providers=lambda: [OPENVINO],
            get_outputs=lambda: [SimpleNamespace(name="upscaled")],
        ))  # fmt: skip
        return made[-1]

    device: Any = SimpleNamespace(session=session, batches=False)
    graph = Graph(b"", device, most_pixels=100, bf16_scale=scale)
    with pytest.raises(DeviceOutOfMemoryError, match="No memory for a tile of 2 x 2 pixels"):
        graph.run(_LARGE)
    assert graph.run(_LARGE).shape == _ANSWER.shape
    assert len(made) == sessions_made


def test_float32_on_a_gpu_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setattr(ort, "preload_dlls", lambda: None)
    working = SimpleNamespace(get_providers=lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(ort, "InferenceSession", lambda *_, **__: working)
    device = choose_device("gpu", 2, precision="float32")
    assert not device.half
    assert device.options["use_tf32"] == "0"
    assert (
        device.sentence() == "Models run on the GPU, in float32 as CHETKO_PRECISION says. The platform gpu was chosen."
    )
    assert "use_tf32" not in choose_device("gpu", 2).options
