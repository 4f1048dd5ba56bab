"""A graph in float16, and what processors that really compute in float16 or bfloat16 would make of it."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference


def retyped(model: onnx.ModelProto, before: int, after: int) -> onnx.ModelProto:
    """A copy of ``model`` whose tensors of the TensorProto type ``before`` are of the type ``after``, but for the
    factors of a Resize: those are float32 by definition."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    kept = {name for node in changed.graph.node if node.op_type == "Resize" for name in node.input[1:3]}
    tensors = [tensor for tensor in changed.graph.initializer if tensor.name not in kept]
    for node in changed.graph.node:
        for attribute in node.attribute:
            if attribute.name == "to" and attribute.i == before:
                attribute.i = after
            if attribute.HasField("t") and not kept & set(node.output):
                tensors.append(attribute.t)
    for tensor in tensors:
        if tensor.data_type == before:
            with np.errstate(over="ignore"):  # what overflows, the output `finite` tells
                values = numpy_helper.to_array(tensor).astype(helper.tensor_dtype_to_np_dtype(after))
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return changed


def rounded_everywhere(half: onnx.ModelProto) -> onnx.ModelProto:
    """A float32 graph that computes what ``half`` (float16) is on a GPU: the result of every node rounded to float16.

    onnxruntime's CPU provider has no float16 kernels: it runs a float16 graph in float32 from end to end, and measuring
    that would measure float32. Sums within a node are float32 here, as cuDNN's are.
    """
    inferred = shape_inference.infer_shapes(half).graph
    types = {value.name: value.type.tensor_type.elem_type for value in inferred.value_info}
    full = retyped(half, TensorProto.FLOAT16, TensorProto.FLOAT)
    nodes = []
    for node in full.graph.node:
        nodes.append(node)
        for index, name in enumerate(node.output):
            if types.get(name) == TensorProto.FLOAT16:
                node.output[index] = f"{name}.exact"
                nodes.append(helper.make_node("Cast", [f"{name}.exact"], [f"{name}.half"], to=TensorProto.FLOAT16))
                nodes.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    del full.graph.node[:]
    full.graph.node.extend(nodes)
    return full


def rounded_to_bfloat16(full: onnx.ModelProto) -> onnx.ModelProto:
    """A float32 graph that computes what ``full`` (float32) is where it is run in bfloat16: weights and the result of
    every node rounded, sums within a node not.

    Within a level of what OpenVINO makes of the shipped models (``python -m benchmarks.openvino``).
    """
    inferred = shape_inference.infer_shapes(full).graph
    types = {value.name: value.type.tensor_type.elem_type for value in inferred.value_info}
    model = onnx.ModelProto()
    model.CopyFrom(full)
    factors = {name for node in model.graph.node if node.op_type == "Resize" for name in node.input[1:3]}
    nodes = []

    def round_(exact: str, rounded: str) -> None:
        nodes.append(helper.make_node("Cast", [exact], [f"{rounded}.bfloat16"], to=TensorProto.BFLOAT16))
        nodes.append(helper.make_node("Cast", [f"{rounded}.bfloat16"], [rounded], to=TensorProto.FLOAT))

    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and tensor.name not in factors:
            exact = f"{tensor.name}.exact"
            round_(exact, tensor.name)
            tensor.name = exact
    for node in model.graph.node:
        nodes.append(node)
        for index, name in enumerate(node.output):
            if types.get(name) == TensorProto.FLOAT and name not in factors:
                node.output[index] = f"{name}.exact"
                round_(f"{name}.exact", name)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model
