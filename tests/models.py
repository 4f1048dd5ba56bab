"""Tiny ONNX models with manifests, one per way to behave; written where a test wants them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Builder = Callable[[int, str], bytes]
"""Scale and kind (``uint8`` or ``float``) -> ONNX file."""


class _Drawing:
    """Nodes of a graph that is being drawn; every method returns the name of its output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def node(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        name = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def constant(self, value: Any) -> str:
        name = f"constant_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(value), name))
        return name


def _model(scale: int, kind: str, body: Callable[[_Drawing, str], str], *, tells_finite: bool = False) -> bytes:
    """A file that keeps the model contract; ``body`` draws what lies between [0, 1] NCHW and clamped NCHW."""
    drawing = _Drawing()
    tensor = TensorProto.UINT8 if kind == "uint8" else TensorProto.FLOAT
    unit = drawing.node("Transpose", "image", perm=[0, 3, 1, 2])
    if kind == "uint8":
        unit = drawing.node("Cast", unit, to=TensorProto.FLOAT)
        unit = drawing.node("Mul", unit, drawing.constant(np.float32(1 / 255)))
    large = body(drawing, unit)
    outputs = [helper.make_tensor_value_info("upscaled", tensor, ["n", "sh", "sw", 3])]
    if tells_finite:
        nan = drawing.node("Cast", drawing.node("IsNaN", large), to=TensorProto.FLOAT)
        drawing.node(
            "Equal", drawing.node("ReduceMax", nan, keepdims=0), drawing.constant(np.float32(0)), output="finite"
        )
        outputs.append(helper.make_tensor_value_info("finite", TensorProto.BOOL, []))
    zero, one = drawing.constant(np.float32(0)), drawing.constant(np.float32(1))
    large = drawing.node("Clip", large, zero, one)
    if kind == "uint8":
        large = drawing.node("Round", drawing.node("Mul", large, drawing.constant(np.float32(255))))
        large = drawing.node("Cast", large, to=TensorProto.UINT8)
    drawing.node("Transpose", large, perm=[0, 2, 3, 1], output="upscaled")
    graph = helper.make_graph(
        drawing.nodes,
        "tiny",
        [helper.make_tensor_value_info("image", tensor, ["n", "h", "w", 3])],
        outputs,
        drawing.initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _nearest(drawing: _Drawing, unit: str, scale: int) -> str:
    factors = drawing.constant(np.array([1, 1, scale, scale], np.float32))
    return drawing.node(
        "Resize",
        unit,
        "",
        factors,
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )


def nearest(scale: int, kind: str) -> bytes:
    """Repeats every pixel: halo 0, and the right answer is known."""
    return _model(scale, kind, lambda drawing, unit: _nearest(drawing, unit, scale))


def faded(scale: int, kind: str) -> bytes:
    """As ``nearest``, with half the contrast."""

    def body(drawing: _Drawing, unit: str) -> str:
        half = drawing.node("Mul", _nearest(drawing, unit, scale), drawing.constant(np.float32(0.5)))
        return drawing.node("Add", half, drawing.constant(np.float32(0.25)))

    return _model(scale, kind, body)


def convolutions(scale: int, kind: str, *, layers: int = 3, channels: int = 8, seed: int = 0) -> bytes:
    """Random 3x3 convolutions with LeakyReLU, pixel shuffle and nearest skip: halo = ``layers``."""
    random = np.random.default_rng(seed)

    def body(drawing: _Drawing, unit: str) -> str:
        features, width = unit, 3
        for layer in range(layers):
            last = layer == layers - 1
            wanted = 3 * scale**2 if last else channels
            weights = random.normal(0, (2 / (9 * width)) ** 0.5 * (0.3 if last else 1), (wanted, width, 3, 3))
            features = drawing.node(
                "Conv",
                features,
                drawing.constant(weights.astype(np.float32)),
                drawing.constant(random.normal(0, 0.05, wanted).astype(np.float32)),
                kernel_shape=[3, 3],
                pads=[1, 1, 1, 1],
            )
            if not last:
                features = drawing.node("LeakyRelu", features, alpha=0.1)
            width = wanted
        shuffled = drawing.node("DepthToSpace", features, blocksize=scale, mode="CRD")
        return drawing.node("Add", shuffled, _nearest(drawing, unit, scale))

    return _model(scale, kind, body)


def not_a_number(scale: int, kind: str) -> bytes:
    """Answers NaN everywhere, and says so in ``finite``."""

    def body(drawing: _Drawing, unit: str) -> str:
        zero = drawing.node("Sub", unit, unit)
        return _nearest(drawing, drawing.node("Div", zero, zero), scale)

    return _model(scale, kind, body, tells_finite=True)


def out_of_memory(scale: int, kind: str, *, above: int) -> bytes:
    """As ``nearest``, but asks for 16 TB when it sees more than ``above`` input pixels at once."""

    def body(drawing: _Drawing, unit: str) -> str:
        sides = drawing.node("Gather", drawing.node("Shape", unit), drawing.constant(np.array([0, 2, 3])))
        area = drawing.node("ReduceProd", sides, axes=[0], keepdims=1)
        large = drawing.node("Greater", area, drawing.constant(np.array([above])))
        length = drawing.node("Where", large, drawing.constant(np.array([2**42])), drawing.constant(np.array([1])))
        filled = drawing.node("ReduceMax", drawing.node("ConstantOfShape", length), keepdims=0)
        return drawing.node("Add", _nearest(drawing, unit, scale), filled)

    return _model(scale, kind, body)


def failing(scale: int, kind: str) -> bytes:
    """Loads, and fails whenever it runs."""

    def body(drawing: _Drawing, unit: str) -> str:
        impossible = drawing.constant(np.array([1, 2, 3, 5, 7, 11, 13, 17]))
        return drawing.node("Reshape", drawing.node("Reshape", unit, impossible), drawing.node("Shape", unit))

    return _model(scale, kind, body)


def write_model(
    models: Path,
    name: str,
    build: Builder = nearest,
    *,
    scales: tuple[int, ...] = (2, 4),
    halo: int = 0,
    fp16: Builder | None = None,
    entry: Mapping[str, Any] | None = None,
    **manifest: Any,
) -> Path:
    """Writes ``models/name/`` with a manifest that fits its files; returns the folder.

    ``entry`` overrides keys of every scale's entry, further keywords those of the manifest. ``fp16`` adds a file
    that stands for the half precision variant.
    """
    folder = models / name
    folder.mkdir(parents=True)

    def add(file: str, content: bytes) -> dict[str, Any]:
        (folder / file).write_bytes(content)
        return {"file": file, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}

    described: dict[str, Any] = {}
    for scale in scales:
        files = {
            "uint8": add(f"x{scale}.onnx", build(scale, "uint8")),
            "float": add(f"x{scale}.float.onnx", build(scale, "float")),
        }
        if fp16 is not None:
            files["fp16"] = add(f"x{scale}.fp16.onnx", fp16(scale, "uint8"))
        described[str(scale)] = {
            "parameters": 1000,
            "multiply_adds_per_input_pixel": 1000,
            "halo": halo,
            "receptive_field_radius": halo,
            "opset": 17,
            "activation_bytes_per_input_pixel": 600,
            "files": files,
            "precisions": {"float32": {}},
            "training": {},
            "measured": {},
            "parity": {},
        } | dict(entry or {})
    content = {
        "schema": 1,
        "name": name,
        "version": "1.0.0",
        "title": {"en": name, "ru": name},
        "description": {"en": "A model for tests.", "ru": "Модель для тестов."},
        "kind": "baseline",
        "architecture": {"network": "tiny"},
        "licence": "Apache-2.0",
        "equalize_colors": False,
        "scales": described,
    } | manifest
    (folder / "manifest.json").write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")
    return folder
