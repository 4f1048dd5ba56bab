"""The network in 8-bit integers: static quantisation, and what it is calibrated on."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

Image8 = npt.NDArray[np.uint8]


class _Pictures(CalibrationDataReader):
    def __init__(self, pictures: Iterable[Image8]) -> None:
        self._coming = iter(pictures)

    def get_next(self) -> dict[str, Image8] | None:
        picture = next(self._coming, None)
        return None if picture is None else {"image": picture[np.newaxis]}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without onnxruntime's advice to optimise the graph first: the exporter has done that."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)


def inner_convolutions(model: onnx.ModelProto) -> list[str]:
    """The names of all convolutions but the first and the last, which see and make the picture itself."""
    return [node.name for node in model.graph.node if node.op_type == "Conv"][1:-1]


def quantize(model: onnx.ModelProto, calibration: Iterable[Image8]) -> onnx.ModelProto:
    """``model`` (uint8 in and out, float32 inside) with its inner convolutions in int8.

    Weights per channel, activations over the whole range that ``calibration`` shows: calibrated on photos alone, the
    shipped network was wrong by up to 239 levels on noise. 7-bit weights, since processors without VNNI add pairs of
    products in 16 bits, which overflow with 8.
    """
    given = onnx.ModelProto()
    given.CopyFrom(model)  # onnxruntime moves the weights out of what it is given
    with tempfile.TemporaryDirectory() as scratch, _quiet():
        path = Path(scratch) / "int8.onnx"
        quantize_static(
            given, path, _Pictures(calibration), quant_format=QuantFormat.QDQ, per_channel=True, reduce_range=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, calibrate_method=CalibrationMethod.MinMax,
            op_types_to_quantize=["Conv"], nodes_to_quantize=inner_convolutions(model),
        )  # fmt: skip
        return onnx.load(path)
