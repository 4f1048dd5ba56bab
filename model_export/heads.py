"""One copy of a network's weights for all its ONNX files.

The float twin and the half-precision file have the same weights as ``x4.onnx``, to the bit. So each is published as a
*head*: the file up to its weights, which then are a slice of ``x4.onnx``. Head and slice together are an ONNX file like
any other: where a message comes in two parts (here the graph) a reader of protocol buffers joins them, as the
specification asks for. ``python -m model_export.heads app/models/fast/x4.float.head -o x4.float.onnx`` puts them
together.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import onnx

from model_export.publish import read_manifest

LARGE = 64
"""Numbers from which on a tensor is shared."""
WORTH_IT = 4096
"""Bytes of weights from which on two files are better than three."""


@dataclass(frozen=True)
class Head:
    """``content``, and then the bytes ``begin`` to ``end`` of the other file, are an ONNX file."""

    content: bytes
    begin: int
    end: int

    def joined(self, whole: Path) -> bytes:
        """That file; ``whole`` is the other one."""
        return self.content + whole.read_bytes()[self.begin : self.end]


def weights_first(model: onnx.ModelProto) -> None:
    """Puts the large tensors of ``model`` before the small ones: in its file they are one slice then."""
    tensors = sorted(model.graph.initializer, key=lambda tensor: not _is_large(tensor))
    del model.graph.initializer[:]
    model.graph.initializer.extend(tensors)


def head(path: Path, whole: Path) -> Head | None:
    """The ONNX file ``path`` as a head of ``whole``, both as ``write_onnx`` writes them.

    None if ``path`` has not all the large weights of ``whole``, or they are few: it stays a file of its own.
    """
    shared = [tensor for tensor in onnx.load(whole).graph.initializer if _is_large(tensor)]
    rest = onnx.GraphProto(initializer=shared)
    weights = rest.SerializeToString(deterministic=True)
    begin = whole.read_bytes().find(weights)
    if len(weights) < WORTH_IT or begin < 0:
        return None
    model = onnx.load(path)
    name_of = {_values(tensor): tensor.name for tensor in shared}
    renamed = {each.name: name_of[_values(each)] for each in model.graph.initializer if _values(each) in name_of}
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in renamed]
    if set(renamed.values()) != set(name_of.values()) or {each.name for each in kept} & {each.name for each in shared}:
        return None
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    for node in model.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
    before_weights = onnx.ModelProto(graph=rest).SerializeToString(deterministic=True).removesuffix(weights)
    content = model.SerializeToString(deterministic=True) + before_weights
    return Head(content, begin, begin + len(weights))


def _is_large(tensor: onnx.TensorProto) -> bool:
    return math.prod(tensor.dims) >= LARGE


def _values(tensor: onnx.TensorProto) -> tuple[int, tuple[int, ...], bytes]:
    return tensor.data_type, tuple(tensor.dims), onnx.numpy_helper.to_array(tensor).tobytes()


def of_model(path: Path) -> tuple[Head, Path]:
    """The head that is the file ``path`` of a model's folder, and the file that it goes on in.

    Raises ValueError if the folder's manifest names no such head.
    """
    for entry in read_manifest(path.parent).get("scales", {}).values():
        for file in entry["files"].values():
            if file["file"] == path.name and "continued" in file:
                return Head(path.read_bytes(), **file["continued"]), path.parent / entry["files"]["uint8"]["file"]
    raise ValueError(f"{path} is not a head that {path.parent / 'manifest.json'} names")


def main(argv: list[str] | None = None) -> int:
    """0, or 2 for a head that cannot be joined; standard error then says why."""
    parser = argparse.ArgumentParser(prog="model_export.heads", description="Write a head and its weights as one file.")
    parser.add_argument("head", type=Path, help="x<scale>.float.head or x<scale>.fp16.head of a model's folder")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the ONNX file")
    options = parser.parse_args(argv)
    try:
        beginning, whole = of_model(options.head)
        options.output.write_bytes(beginning.joined(whole))
    except (OSError, ValueError) as error:
        print(f"model_export.heads: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
