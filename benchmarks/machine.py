"""The machine that measures, and the rate at which it multiplies matrices: no network computes faster than that."""

from __future__ import annotations

import importlib.util
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import psutil
from onnx import TensorProto, helper

from app.inference.cpus import multiplies_bf16, usable_cpus

# Large enough that packing and threads cost nothing, small enough to lie in a third-level cache.
_EDGE = 1024


@dataclass(frozen=True)
class Machine:
    """What a reader must know of the figures."""

    processor: str
    threads: int
    system: str
    onnxruntime: str
    load: float
    """Average number of processes that wanted a core in the minute before the measurement began."""
    rates: dict[str, float | None]
    """Operations a second (a multiplication and an addition are two) of a matrix product in ``float32``, ``int8`` and
    ``bfloat16``; None where the processor has no instructions for it, or nothing installed uses them."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def sentence(self) -> str:
        """As a line under a table."""
        names = {"float32": "float32 {} GFLOP/s", "int8": "int8 {} Gop/s", "bfloat16": "bfloat16 {} GFLOP/s"}
        rates = [names[kind].format(round(rate / 1e9)) for kind, rate in self.rates.items() if rate is not None]
        return (
            f"{self.processor}, {self.threads} threads, {self.system}, onnxruntime {self.onnxruntime}; "
            f"matrix products: {', '.join(rates)}; load average before it began: {self.load:.1f}"
        )


def describe(*, seconds: float) -> Machine:
    """Measures the rates, ``seconds`` for each."""
    load = psutil.getloadavg()[0]
    return Machine(
        processor_name(), usable_cpus(), f"{platform.system()} {platform.machine()}", onnxruntime.__version__, load,
        {"float32": _float32(seconds), "int8": _int8(seconds), "bfloat16": _bfloat16(seconds)},
    )  # fmt: skip


def processor_name() -> str:
    """As the system calls it, with its widest vector instructions."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    facts = {name.strip(): value.strip() for name, value in facts.items()}
    wide = next((name for name in ("amx_tile", "avx512f", "avx2") if name in facts.get("flags", "").split()), "")
    return " ".join(filter(None, [facts.get("model name", platform.machine()), wide and f"({wide})"]))


def bare_session(model: bytes | Path, threads: int) -> onnxruntime.InferenceSession:
    """A session as onnxruntime makes it by default, except that its threads stop spinning with its run: else they would
    take the processor from whatever is measured next."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _float32(seconds: float) -> float:
    """The better of numpy's BLAS and onnxruntime's own: it is the machine's rate that is wanted, not a library's."""
    left, right = (np.random.default_rng(seed).random((_EDGE, _EDGE), np.float32) for seed in (0, 1))
    out = np.empty_like(left)
    product = _product("MatMul", TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.FLOAT)
    return max(
        _rate(lambda: np.matmul(left, right, out=out), seconds / 2),
        _rate(lambda: product.run(None, {"left": left, "right": right}), seconds / 2),
    )


def _int8(seconds: float) -> float:
    random = np.random.default_rng(0)
    left = random.integers(0, 256, (_EDGE, _EDGE), np.uint8)
    right = random.integers(-64, 64, (_EDGE, _EDGE), np.int8)
    product = _product("MatMulInteger", TensorProto.UINT8, TensorProto.INT8, TensorProto.INT32)
    return _rate(lambda: product.run(None, {"left": left, "right": right}), seconds)


def _bfloat16(seconds: float) -> float | None:
    """By torch, since onnxruntime's CPU has no product of bfloat16."""
    if not multiplies_bf16() or importlib.util.find_spec("torch") is None:
        return None
    import torch  # noqa: PLC0415 - seconds, and only where it is of use

    torch.set_num_threads(usable_cpus())
    left, right = (torch.rand(_EDGE, _EDGE).bfloat16() for _ in range(2))
    return _rate(lambda: torch.mm(left, right), seconds)


def _product(operator: str, left: int, right: int, out: int) -> onnxruntime.InferenceSession:
    sides = [
        helper.make_tensor_value_info(name, kind, [_EDGE, _EDGE])
        for name, kind in (("left", left), ("right", right), ("out", out))
    ]
    graph = helper.make_graph([helper.make_node(operator, ["left", "right"], ["out"])], "product", sides[:2], sides[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bare_session(model.SerializeToString(), usable_cpus())


def _rate(multiply: Callable[[], object], seconds: float) -> float:
    """Of the fastest product: what else the machine does takes nothing from what it can do."""
    best = float("inf")
    end = time.perf_counter() + seconds
    multiply()
    while time.perf_counter() < end:
        began = time.perf_counter()
        multiply()
        best = min(best, time.perf_counter() - began)
    return 2 * _EDGE**3 / best
