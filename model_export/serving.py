"""What is exported: a network between bytes in and bytes out, and the file that holds it."""

from __future__ import annotations

import copy
import hashlib
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file
from torch import Tensor, nn

from model_export.half import retyped
from model_export.heads import weights_first

OPSET = 18

# Input and output of the network itself, inside the served graph.
_PLANES, _ENLARGED = "planes", "enlarged"


def served_form(network: nn.Module) -> nn.Module:
    """A float32 copy of ``network`` in the form that runs fastest: its own ``for_serving()`` where it has one, and
    PReLU whose slopes are all equal as LeakyReLU, which onnxruntime fuses into the convolution before it."""
    plain = copy.deepcopy(network).float().eval().cpu()
    if hasattr(plain, "for_serving"):
        plain = plain.for_serving().eval()
    for parent in list(plain.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.PReLU) and bool((layer.weight == layer.weight.flatten()[0]).all()):
                setattr(parent, name, nn.LeakyReLU(layer.weight.flatten()[0].item()))
    return plain


def round_to_half(network: nn.Module) -> nn.Module:
    """A float32 copy of ``network`` whose weights are exactly representable in float16, as they are stored."""
    rounded = copy.deepcopy(network).eval().cpu()
    with torch.no_grad():
        for tensor in (*rounded.parameters(), *rounded.buffers()):
            if tensor.is_floating_point():
                tensor.copy_(tensor.half().float())
    return rounded


def to_onnx(network: nn.Module) -> onnx.ModelProto:
    """The graph of ``network``: (N, 3, H, W) -> (N, 3, s*H, s*W), float32, N, H and W free. Takes seconds."""
    free = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    return graph_of(network, (torch.zeros(1, 3, 40, 32),), inputs=[_PLANES], output=_ENLARGED, shapes=(free,))


def graph_of(
    network: nn.Module,
    examples: tuple[Tensor, ...],
    *,
    inputs: list[str],
    output: str,
    shapes: tuple[Any, ...],
    optimize: bool = True,
) -> onnx.ModelProto:
    """The graph of ``network``, traced with ``examples``; ``shapes``: for each input, axis -> a ``torch.export.Dim``.

    Nothing of the exporting machine is in it.
    """
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it complains that torchvision is absent
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network.eval(), examples, dynamo=True, input_names=inputs, output_names=[output], dynamic_shapes=shapes,
            opset_version=OPSET, verbose=False, optimize=optimize,
        )  # fmt: skip
    if program is None:
        raise RuntimeError("torch.onnx.export made no program")
    model = program.model_proto
    _strip_notes(model)
    return model


def for_bytes(network: onnx.ModelProto) -> onnx.ModelProto:
    """``network`` (as ``to_onnx`` gives it) between bytes: uint8 NHWC RGB in and out. Normalising, clamping and
    rounding (half to even) happen inside the graph."""
    served = _Graph(network, TensorProto.FLOAT)
    served.normalised(served.node("Transpose", "image", perm=[0, 3, 1, 2]))
    served.rounded()
    return served.model(TensorProto.UINT8)


def for_floats(network: onnx.ModelProto) -> onnx.ModelProto:
    """``network`` for 16-bit pictures: float32 NHWC in [0, 1] in and out, clamped."""
    served = _Graph(network, TensorProto.FLOAT)
    served.node("Transpose", "image", perm=[0, 3, 1, 2], output=_PLANES)
    served.draw_network()
    served.node("Transpose", served.clamped(), perm=[0, 2, 3, 1], output="upscaled")
    return served.model(TensorProto.FLOAT)


def for_bytes_in_half(network: onnx.ModelProto) -> onnx.ModelProto:
    """As ``for_bytes``, computed in float16, with a second output ``finite``: whether every value was finite.

    The cast to bytes would hide NaN and infinity. What is told is what the network gave: an overflow that a layer
    inside turned back into a number (a sigmoid does that to infinity) is not seen.
    """
    served = _Graph(retyped(network, TensorProto.FLOAT, TensorProto.FLOAT16), TensorProto.FLOAT16)
    served.normalised(served.node("Transpose", "image", perm=[0, 3, 1, 2]))
    # Times zero: finite numbers leave nothing to overflow in the sum, NaN and infinity leave NaN. (IsInf takes
    # float16 from opset 20 on.)
    nothing = served.node("ReduceSum", served.node("Mul", _ENLARGED, served.constant(0.0)), keepdims=0)
    served.node("Equal", nothing, served.constant(0.0), output="finite")
    served.rounded()
    return served.model(TensorProto.UINT8, helper.make_tensor_value_info("finite", TensorProto.BOOL, []))


class _Graph:
    """A network's graph that is given its outer nodes."""

    def __init__(self, network: onnx.ModelProto, kind: int) -> None:
        """``kind``: the TensorProto type that the network computes in."""
        self._network = network
        self._kind = kind
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def node(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Adds a node and gives the name of its output."""
        name = output or f"served_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [name], name=f"make_{name}", **attributes))
        return name

    def constant(self, value: float) -> str:
        """A number in the type that the network computes in."""
        name = f"served_constant_{len(self._constants)}"
        array = np.asarray(value, helper.tensor_dtype_to_np_dtype(self._kind))
        self._constants.append(numpy_helper.from_array(array, name))
        return name

    def draw_network(self) -> None:
        """Adds the network itself, from ``_PLANES`` to ``_ENLARGED``."""
        self._nodes.extend(self._network.graph.node)

    def normalised(self, levels: str) -> None:
        """Bytes (NCHW) -> [0, 1] -> the network."""
        self.node("Div", self.node("Cast", levels, to=self._kind), self.constant(255.0), output=_PLANES)
        self.draw_network()

    def clamped(self) -> str:
        return self.node("Clip", _ENLARGED, self.constant(0.0), self.constant(1.0))

    def rounded(self) -> None:
        """What the network gave -> bytes (NHWC)."""
        levels = self.node("Round", self.node("Mul", self.clamped(), self.constant(255.0)))
        levels = self.node("Cast", levels, to=TensorProto.UINT8)
        self.node("Transpose", levels, perm=[0, 2, 3, 1], output="upscaled")

    def model(self, outside: int, *further: onnx.ValueInfoProto) -> onnx.ModelProto:
        """The finished graph; ``outside`` is the type of ``image`` and ``upscaled``."""
        model = onnx.ModelProto()
        model.CopyFrom(self._network)
        graph = model.graph
        del graph.node[:], graph.input[:], graph.output[:]
        graph.node.extend(self._nodes)
        graph.initializer.extend(self._constants)
        graph.input.append(helper.make_tensor_value_info("image", outside, ["n", "h", "w", 3]))
        graph.output.append(helper.make_tensor_value_info("upscaled", outside, ["n", "sh", "sw", 3]))
        graph.output.extend(further)
        return model


def write_weights(network: nn.Module, path: Path) -> None:
    """Writes the state of ``network``, as it is trained, to the ``.safetensors`` file ``path``: ``chetko-train --init``
    goes on from it. Floating-point tensors are stored as float16, which training forgets within its first steps.
    """
    state = network.state_dict()
    save_file({name: _half(tensor) if tensor.is_floating_point() else tensor for name, tensor in state.items()}, path)


def _half(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().half().contiguous()


def write_onnx(model: onnx.ModelProto, path: Path) -> None:
    """Writes a copy of ``model`` to ``path`` in which large weights are stored as float16 wherever that loses nothing.

    The graph casts them to float32; the runtime folds the cast when it loads, so half the file computes the same
    numbers (given ``round_to_half`` was applied). Large weights come first: see ``heads``.
    """
    stored = onnx.ModelProto()
    stored.CopyFrom(model)
    _store_half(stored.graph)
    weights_first(stored)
    onnx.checker.check_model(stored, full_check=True)
    path.write_bytes(stored.SerializeToString(deterministic=True))


def _store_half(graph: onnx.GraphProto, *, at_least: int = 64) -> None:
    casts, kept = [], []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        half = values.astype(np.float16) if values.dtype == np.float32 and values.size >= at_least else None
        if half is None or not np.array_equal(half.astype(np.float32), values):
            kept.append(tensor)
            continue
        stored = f"{tensor.name}.half"
        kept.append(numpy_helper.from_array(half, stored))
        casts.append(
            helper.make_node("Cast", [stored], [tensor.name], name=f"{tensor.name}.cast", to=TensorProto.FLOAT)
        )
    nodes = [*casts, *graph.node]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend(nodes)


def _strip_notes(model: onnx.ModelProto) -> None:
    """Drops source paths and stack traces of the exporting machine: they bloat the file and change its hash."""
    del model.metadata_props[:]
    graph = model.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]
    for node in graph.node:
        node.doc_string = ""
    # Inferred shapes name the exporter's symbols; only the outer two are part of the contract.
    del graph.value_info[:]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
