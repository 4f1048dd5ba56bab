"""What a manifest claims about a network, measured: halo, parity, work, memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, shape_inference
from torch import nn

Image8 = npt.NDArray[np.uint8]
Restorer = Callable[[Image8], Image8]


def parameters(network: nn.Module) -> int:
    """Number of trained values."""
    return sum(parameter.numel() for parameter in network.parameters())


def difference(first: Image8, second: Image8) -> int:
    """The largest difference of two pictures in any pixel, in 8-bit levels."""
    return int(np.abs(first.astype(np.int16) - second.astype(np.int16)).max())


@dataclass(frozen=True)
class Difference:
    """How far two restorers are apart on some pictures, in 8-bit levels."""

    largest: dict[str, int]
    """Picture -> the largest difference in any value."""
    mean: float
    """Over all values of all pictures."""

    @property
    def worst(self) -> int:
        return max(self.largest.values())

    def document(self) -> dict[str, object]:
        """As the manifest tells it."""
        return {"largest_difference": self.largest, "mean_difference": round(self.mean, 6)}


def differences(restore: Restorer, references: Mapping[str, tuple[Image8, Image8]]) -> Difference:
    """How far ``restore`` is from the enlarged pictures in ``references``: name -> (picture, enlarged)."""
    largest, sums, count = {}, 0.0, 0
    for name, (image, enlarged) in references.items():
        distance = np.abs(restore(image).astype(np.int16) - enlarged.astype(np.int16))
        largest[name] = int(distance.max())
        sums += float(distance.sum())
        count += distance.size
    return Difference(largest, sums / count)


def halo_holds(
    restore: Restorer,
    wholes: Iterable[tuple[Image8, Image8]],
    scale: int,
    halo: int,
    edge: int = 40,
    *,
    levels: int = 1,
) -> bool:
    """Whether tiles of ``edge`` kept pixels cut with ``halo`` equal the whole to <= ``levels`` in every pixel."""
    for image, whole in wholes:
        height, width = image.shape[:2]
        for top in range(0, height, edge):
            for left in range(0, width, edge):
                bottom, right = min(top + edge, height), min(left + edge, width)
                y, x = max(0, top - halo), max(0, left - halo)
                tile = restore(np.ascontiguousarray(image[y : bottom + halo, x : right + halo]))
                kept = tile[(top - y) * scale : (bottom - y) * scale, (left - x) * scale : (right - x) * scale]
                if difference(kept, whole[top * scale : bottom * scale, left * scale : right * scale]) > levels:
                    return False
    return True


def measured_halo(restore: Restorer, pictures: Iterable[Image8], scale: int, radius: float) -> int:
    """The border in input pixels that a tile needs: the smallest that holds on all ``pictures``, plus 1.

    Guaranteed to hold on all of them, and never more than the receptive field's ``radius`` rounded up. Raises
    ``ValueError`` when not even that holds: then the network looks further than it says.
    """
    wholes = [(picture, restore(picture)) for picture in pictures]
    certain = math.ceil(radius)
    if not halo_holds(restore, wholes, scale, certain):
        raise ValueError(f"tiles cut with the receptive field's radius, {certain} px, differ from the whole picture")
    low, high = 0, certain  # high holds; whatever is below low does not
    while low < high:
        middle = (low + high) // 2
        if halo_holds(restore, wholes, scale, middle):
            high = middle
        else:
            low = middle + 1
    return next(
        halo for halo in range(min(certain, high + 1), certain + 1)
        if halo == high or halo_holds(restore, wholes, scale, halo)
    )  # fmt: skip


def activation_bytes_per_pixel(path: Path, edge: int = 64) -> int:
    """Peak bytes of live activations per input pixel while the graph at ``path`` runs one tile.

    A tensor lives from the node that makes it to the last that reads it. Guaranteed not to be less than what an
    allocator that frees at once needs for tensors; convolution scratch space is the runtime's own and comes on top.
    """
    model = onnx.load(path)
    dims = model.graph.input[0].type.tensor_type.shape.dim
    for dim, size in zip(dims, (1, edge, edge), strict=False):
        dim.dim_value = size
    for dim in model.graph.output[0].type.tensor_type.shape.dim:
        dim.Clear()
    inferred = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    constant = {tensor.name for tensor in inferred.initializer}
    sizes = {}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        kind = value.type.tensor_type
        count = math.prod(dim.dim_value for dim in kind.shape.dim)
        sizes[value.name] = count * helper.tensor_dtype_to_np_dtype(kind.elem_type).itemsize
    last_use = {name: index for index, node in enumerate(inferred.node) for name in node.input}
    outputs = {value.name for value in inferred.output}
    live: dict[str, int] = {value.name: sizes[value.name] for value in inferred.input}
    peak = 0
    for index, node in enumerate(inferred.node):
        if all(name in constant for name in node.input if name):
            constant.update(node.output)  # folded when the file is loaded
            continue
        live.update({name: sizes.get(name, 0) for name in node.output})
        peak = max(peak, sum(live.values()))
        for name in [name for name in live if last_use.get(name, -1) <= index and name not in outputs]:
            del live[name]
    return math.ceil(peak / (edge * edge))
