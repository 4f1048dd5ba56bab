"""Sessions on a device: what they refuse, and what they do when a network misbehaves."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import onnxruntime as ort
import pytest

from app.imaging.picture import Pixels
from app.inference.device import _IDENTITY, Device, choose_device
from app.inference.engine import Engine
from app.inference.errors import (
    BrokenModelError,
    DeviceLostError,
    DeviceOutOfMemoryError,
    InferenceError,
    NotFiniteError,
    PlatformUnavailableError,
    RuntimeProblemError,
)
from app.inference.graph import Graph
from app.inference.registry import Registry
from tests import models

# Stands for a GPU: the same processor, told to take half precision and closed shapes.
_AS_IF_GPU = dataclasses.replace(choose_device("cpu", 2), half=True, closed_shapes=True, batches=True)


def _graph(model: bytes, device: Device = _AS_IF_GPU) -> Graph:
    return Graph(model, device, most_pixels=10**6)


def _batch(pixels: Pixels) -> Pixels:
    return pixels[np.newaxis]


def test_a_graph_runs_bytes_and_floats(noise: Pixels) -> None:
    expected = noise.repeat(4, 0).repeat(4, 1)
    np.testing.assert_array_equal(_graph(models.nearest(4, "uint8")).run(_batch(noise))[0], expected)
    floats = _graph(models.nearest(4, "float")).run(_batch(noise / np.float32(255)))[0]
    np.testing.assert_allclose(floats, expected / 255, atol=1e-6)


def test_batched_tiles_equal_single_ones_to_the_byte(noise: Pixels) -> None:
    graph = _graph(models.convolutions(4, "uint8"))
    batch = np.stack([noise, noise[::-1], noise[:, ::-1]])
    together = graph.run(batch)
    for one, answer in zip(batch, together, strict=True):
        np.testing.assert_array_equal(graph.run(_batch(one))[0], answer)


def test_missing_memory_is_recognised_and_silent(noise: Pixels, capfd: pytest.CaptureFixture[str]) -> None:
    graph = _graph(models.out_of_memory(2, "uint8", above=1000))
    with pytest.raises(DeviceOutOfMemoryError, match="83 x 61 pixels"):
        graph.run(_batch(noise))
    assert graph.run(_batch(noise[:20, :20])).shape == (1, 40, 40, 3), "it goes on with less"
    assert capfd.readouterr().err == "", "onnxruntime's own log stays off stderr"


def test_a_failing_network_is_an_inference_error(noise: Pixels, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(InferenceError, match="failed on a tile of 83 x 61 pixels"):
        _graph(models.failing(2, "uint8")).run(_batch(noise))
    assert "Reshape" in caplog.text, "the log tells why"


@pytest.mark.parametrize("kind", ["uint8", "float"])
def test_not_a_number_is_an_error_in_full_precision(noise: Pixels, kind: str) -> None:
    pixels = noise if kind == "uint8" else noise / np.float32(255)
    with pytest.raises(NotFiniteError):
        _graph(models.not_a_number(2, kind)).run(_batch(pixels))


def test_not_a_number_in_half_precision_is_redone_in_full(tmp_path: Path, noise: Pixels) -> None:
    models.write_model(tmp_path, "net", models.nearest, fp16=models.not_a_number)
    registry = Registry.load([tmp_path])
    with Engine(registry, platform="cpu") as engine:
        engine.device = _AS_IF_GPU
        answer = engine.graph(registry.find("net", 2), "uint8").run(_batch(noise))[0]
    np.testing.assert_array_equal(answer, noise.repeat(2, 0).repeat(2, 1))


def test_half_precision_is_taken_only_where_it_is_faster(tmp_path: Path, noise: Pixels) -> None:
    # The files differ here, so that the answer tells which one ran.
    models.write_model(tmp_path, "net", models.nearest, fp16=models.convolutions)
    registry = Registry.load([tmp_path])
    plain = noise.repeat(2, 0).repeat(2, 1)
    for device, expect_plain in ((choose_device("cpu", 2), True), (_AS_IF_GPU, False)):
        with Engine(registry, platform="cpu") as engine:
            engine.device = device
            answer = engine.graph(registry.find("net", 2), "uint8").run(_batch(noise))[0]
        assert np.array_equal(answer, plain) is expect_plain


def test_gpu_is_refused_where_there_is_none(registry: Registry) -> None:
    if "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("this installation has CUDA")
    with pytest.raises(PlatformUnavailableError, match=r"chetko\[gpu\]"):
        Engine(registry, platform="gpu")
    with Engine(registry, platform="auto") as engine:
        assert engine.device.provider == "CPUExecutionProvider"


def _session_on(provider: str) -> Any:
    return lambda *_, **__: SimpleNamespace(get_providers=lambda: [provider])


def _session_that_fails(*_: Any, **__: Any) -> Any:
    raise RuntimeError("driver too old")


@pytest.mark.parametrize(
    ("session", "told"),
    [(_session_on("CPUExecutionProvider"), "found no working GPU"), (_session_that_fails, "driver too old")],
    ids=["quietly the CPU", "an error"],
)
def test_a_cuda_provider_without_a_device_is_no_gpu(session: Any, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setattr(ort, "preload_dlls", lambda: None)
    monkeypatch.setattr(ort, "InferenceSession", session)
    with pytest.raises(PlatformUnavailableError, match=told):
        choose_device("gpu", 4)
    device = choose_device("auto", 4)
    assert device.name == "cpu"
    assert device.sentence().startswith("Models run on the CPU with 4 threads. ")
    assert told in device.sentence()


def test_the_probe_of_a_gpu_is_a_network_that_runs() -> None:
    given = np.array([3.5], np.float32)
    assert ort.InferenceSession(_IDENTITY).run(None, {"x": given})[0] == given


def test_a_lost_device_is_told_apart_from_a_failed_tile(tmp_path: Path, noise: Pixels) -> None:
    models.write_model(tmp_path, "net")
    registry = Registry.load([tmp_path])
    with Engine(registry, platform="cpu") as engine:
        graph = engine.graph(registry.find("net", 2), "uint8")
        for text, kind in (
            ("CUDA failure 100: no CUDA-capable device is detected ; GPU=0", DeviceLostError),
            ("CUDNN failure 5000: CUDNN_STATUS_EXECUTION_FAILED", InferenceError),
        ):
            graph._session = SimpleNamespace(run=Mock(side_effect=RuntimeError(text)))
            with pytest.raises(InferenceError) as error:
                graph.run(_batch(noise))
            assert type(error.value) is kind


def test_cuda_gets_a_heuristic_search_and_a_closed_set_of_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setattr(ort, "preload_dlls", lambda: None)
    monkeypatch.setattr(ort, "InferenceSession", _session_on("CUDAExecutionProvider"))
    device = choose_device("auto", 4)
    assert device.sentence() == "Models run on the GPU. onnxruntime found one that works."
    assert device == choose_device("gpu", 4)
    assert device.provider == "CUDAExecutionProvider"
    assert device.options["cudnn_conv_algo_search"] == "HEURISTIC"
    assert device.closed_shapes
    assert device.batches
    assert device.half
    assert choose_device("cpu", 4).provider == "CPUExecutionProvider"


def test_an_engine_does_not_start_with_two_runtimes(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.inference.runtime._is_installed", lambda name: name != "onnxruntime-openvino")
    with pytest.raises(RuntimeProblemError):
        Engine(registry, platform="cpu")


def test_warming_finds_a_changed_file(tmp_path: Path) -> None:
    folder = models.write_model(tmp_path, "net")
    registry = Registry.load([tmp_path])
    (folder / "x4.float.onnx").write_bytes((folder / "x2.float.onnx").read_bytes())
    with Engine(registry, platform="cpu") as engine:
        engine.warm("net", 2)
        with pytest.raises(BrokenModelError, match=r"x4\.float\.onnx is not the file"):
            engine.warm("net", 4)


def test_a_file_that_is_no_network_is_named(tmp_path: Path) -> None:
    models.write_model(tmp_path, "junk", lambda _scale, _kind: b"this is no ONNX file")
    with (
        Engine(Registry.load([tmp_path]), platform="cpu", threads=1) as engine,
        pytest.raises(BrokenModelError, match=r"junk.x2.onnx cannot be run"),
    ):
        engine.warm("junk", 2)


def test_warming_runs_the_network(tmp_path: Path) -> None:
    models.write_model(tmp_path, "net", models.failing)
    with Engine(Registry.load([tmp_path]), platform="cpu") as engine, pytest.raises(InferenceError):
        engine.warm("net", 2)


def test_a_file_is_loaded_once(tmp_path: Path) -> None:
    folder = models.write_model(tmp_path, "net")
    registry = Registry.load([tmp_path])
    with Engine(registry, platform="cpu") as engine:
        graph = engine.graph(registry.find("net", 2), "uint8")
        (folder / "x2.onnx").unlink()
        assert engine.graph(registry.find("net", 2), "uint8") is graph


def test_memory_does_not_grow_with_the_number_of_shapes(tmp_path: Path) -> None:
    psutil = pytest.importorskip("psutil")
    models.write_model(tmp_path, "net", partial(models.convolutions, channels=48, layers=4), scales=(2,))
    registry = Registry.load([tmp_path])
    random = np.random.default_rng(0)
    process = psutil.Process()
    with Engine(registry, platform="cpu") as engine:
        kinds = [engine.graph(registry.find("net", 2), kind) for kind in ("uint8", "float")]
        seen: list[int] = []
        for dtype, graph in ((np.uint8, kinds[0]), (np.float32, kinds[1])):
            graph.run(np.zeros((1, 256, 256, 3), dtype))
        for _ in range(3):
            for _ in range(20):
                height, width = random.integers(1, 256, 2)
                kinds[0].run(np.zeros((1, height, width, 3), np.uint8))
                kinds[1].run(np.zeros((1, width, height, 3), np.float32))
            seen.append(process.memory_info().rss)
    assert seen[-1] - seen[0] < 24 * 2**20
