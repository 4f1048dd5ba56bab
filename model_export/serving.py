"""What is exported: a network between bytes in and bytes out, and the file that holds it."""

from __future__ import annotations

import copy
import hashlib
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

OPSET = 18


class Served8(nn.Module):
    """uint8 NHWC RGB in and out: normalising, clamping and rounding happen inside the graph."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        upscaled = self.network(image.permute(0, 3, 1, 2).float() / 255.0).clamp(0.0, 1.0)
        return torch.round(upscaled * 255.0).to(torch.uint8).permute(0, 2, 3, 1)


class ServedHalf(nn.Module):
    """As ``Served8``, computed in float16, with a second output: whether every value was finite.

    The cast to bytes would hide NaN and infinity. What is told is what the network gave: an overflow that a layer
    inside turned back into a number (a sigmoid does that to infinity) is not seen.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).half()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        upscaled = self.network(image.permute(0, 3, 1, 2).half() / 255.0)
        # Times zero: finite numbers leave nothing to overflow in the sum, NaN and infinity leave NaN. (IsInf on
        # float16 needs opset 20.)
        finite = (upscaled * 0.0).sum() == 0.0
        clamped = upscaled.clamp(0.0, 1.0)
        return torch.round(clamped * 255.0).to(torch.uint8).permute(0, 2, 3, 1), finite


class ServedFloat(nn.Module):
    """The same network for 16-bit pictures: float32 NHWC in [0, 1] in and out, clamped."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        return self.network(image.permute(0, 3, 1, 2)).clamp(0.0, 1.0).permute(0, 2, 3, 1)


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


def to_onnx(served: nn.Module, example: Tensor, outputs: Sequence[str] = ("upscaled",)) -> onnx.ModelProto:
    """The graph of ``served`` with free N, H and W."""
    free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it complains that torchvision is absent
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            served.eval(), (example,), dynamo=True, input_names=["image"], output_names=list(outputs),
            dynamic_shapes={"image": free}, opset_version=OPSET, verbose=False,
        )  # fmt: skip
    if program is None:
        raise RuntimeError("torch.onnx.export made no program")
    model = program.model_proto
    _strip_notes(model)
    return model


def write_onnx(model: onnx.ModelProto, path: Path) -> None:
    """Writes a copy of ``model`` to ``path`` in which large weights are stored as float16 wherever that loses nothing.

    The graph casts them to float32; the runtime folds the cast when it loads, so half the file computes the same
    numbers (given ``round_to_half`` was applied).
    """
    stored = onnx.ModelProto()
    stored.CopyFrom(model)
    _store_half(stored.graph)
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
