"""Where networks run, and how onnxruntime is told to run them there."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Literal

import onnxruntime as ort

from app.inference import openvino
from app.inference.errors import PlatformUnavailableError

Platform = Literal["auto", "cpu", "gpu"]
Precision = Literal["auto", "float32", "bfloat16"]

# Failures arrive as exceptions with the same text: the lines that onnxruntime also writes to stderr help
# nobody.
_SILENT = 4
_IDENTITY = bytes.fromhex(
    "08083a370a100a017812017922084964656e746974791201705a0f0a0178120a0a08080112040a020801620f0a0179120a0a"
    "08080112040a02080142040a001011"
)
"""The smallest ONNX file there is: one Identity node."""
_arena = Lock()
_arena_registered = False


@dataclass(frozen=True)
class Device:
    """One processor that runs one session at a time."""

    name: Literal["cpu", "gpu"]
    provider: str
    """onnxruntime's name of the execution provider of all that is not in bfloat16."""
    threads: int
    """Threads of one run on the CPU."""
    batches: bool
    """Whether equal shapes gain from running together."""
    closed_shapes: bool
    """Whether a new tile shape costs something here (a cuDNN search), so that tiles come from a closed
    set."""
    half: bool
    """Whether half precision is faster here."""
    bf16: bool = False
    """Whether OpenVINO computes here in bfloat16, beside ``provider``: since it is faster, or was asked for."""
    numbers: str = field(default="", compare=False)
    """In which numbers models are computed and why, where that needs to be told: the end of a sentence."""
    why: str = field(default="", compare=False)
    """Why models run here and not elsewhere: a sentence without its full stop."""
    options: dict[str, str] = field(default_factory=dict)
    """The execution provider's options."""

    def sentence(self) -> str:
        """What runs where and why, for whoever starts the service."""
        where = "the GPU" if self.name == "gpu" else f"the CPU with {self.threads} threads"
        return f"Models run on {where}{f', {self.numbers}' if self.numbers else ''}. {self.why}."

    def session(self, model: bytes, *, bf16: bool = False) -> ort.InferenceSession:
        """A session of the ONNX file's bytes on this device; ``bf16`` (only where ``self.bf16``): in bfloat16."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        # Between runs idle threads must not burn a core that encoders, decoders and the event loop need. Within a
        # run they may spin: waking them for every layer took 8 % longer on a 512 x 512 picture.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        # The pattern cache keeps an entry per input shape, without bound, and each pattern one large block.
        options.enable_mem_pattern = False
        # All sessions draw from one arena. With one arena each, four sessions kept 690 MB after 80 shapes,
        # with one 290 MB. Without any arena every run pays for fresh pages: 1.8 times the time.
        options.add_session_config_entry("session.use_env_allocators", "1")
        providers: list[Any] = [openvino.provider(self.threads) if bf16 else (self.provider, self.options)]
        if bf16 or self.provider != "CPUExecutionProvider":
            providers.append("CPUExecutionProvider")
        return ort.InferenceSession(model, options, providers=providers)


def choose_device(platform: Platform, threads: int, *, precision: Precision = "auto") -> Device:
    """The device for ``platform``: ``gpu`` refuses without one, ``auto`` takes a GPU where there is one.

    With ``precision`` float32 everything is computed in float32, with bfloat16 on the CPU in OpenVINO's bfloat16
    (8-bit pictures, by models that allow it) even where float32 would be faster, with auto in what is faster there.
    Raises PlatformUnavailableError with what to install or set instead.
    """
    ort.set_default_logger_severity(_SILENT)
    _register_arena()
    if platform == "cpu":
        return _cpu(threads, precision, "The platform cpu was chosen")
    if precision == "bfloat16":
        if platform == "gpu":
            raise PlatformUnavailableError("bfloat16 is computed on the CPU: set CHETKO_PRECISION to auto or float32.")
        return _cpu(threads, precision, "bfloat16 is computed there")
    trouble = _cuda_trouble()
    if trouble is not None and platform == "gpu":
        raise PlatformUnavailableError(f"{trouble}, or choose the platform cpu.")
    if trouble is not None:
        return _cpu(threads, precision, trouble)
    exact = precision == "float32"
    return Device(
        "gpu",
        "CUDAExecutionProvider",
        threads,
        batches=True,
        closed_shapes=True,
        half=not exact,
        numbers="in float32 as CHETKO_PRECISION says" if exact else "",
        why="onnxruntime found one that works" if platform == "auto" else "The platform gpu was chosen",
        options={
            # EXHAUSTIVE searches for seconds per shape, DEFAULT takes slow algorithms.
            "cudnn_conv_algo_search": "HEURISTIC",
            "arena_extend_strategy": "kSameAsRequested",
            # By itself it rounds what convolutions multiply to 10 bits (TF32).
            **({"use_tf32": "0"} if exact else {}),
        },
    )


def _cpu(threads: int, precision: Precision, why: str) -> Device:
    bf16, numbers = _bf16(precision)
    # Batching does not pay here: 8 tiles of 96 x 96 took 1.2 times as long together as one after another.
    return Device(
        "cpu",
        "CPUExecutionProvider",
        threads,
        batches=False,
        closed_shapes=False,
        half=False,
        bf16=bf16,
        numbers=numbers,
        why=why,
    )


def _bf16(precision: Precision) -> tuple[bool, str]:
    """Whether OpenVINO computes in bfloat16 here, and ``Device.numbers``.

    In float32 it is no faster than onnxruntime's own provider: then everything stays with the provider whose answers
    every other installation gives.
    """
    taken = "in bfloat16 by OpenVINO where a model allows it"
    if precision == "bfloat16":
        if trouble := openvino.trouble():
            raise PlatformUnavailableError(f"There is no bfloat16: {trouble}. Set CHETKO_PRECISION to auto or float32.")
        return True, f"{taken}, as CHETKO_PRECISION says"
    if not openvino.installed():
        return False, ""
    if precision == "float32":
        return False, "in float32 as CHETKO_PRECISION says"
    if trouble := openvino.trouble():
        return False, f"in float32 without OpenVINO: {trouble}"
    took = openvino.time_beside_float32()
    if took > openvino.WORTH_IT:
        return False, f"in float32 without OpenVINO: bfloat16 takes {took:.1f} times as long on this processor"
    return True, taken


def _cuda_trouble() -> str | None:
    """What keeps onnxruntime from using a GPU, and what to do about it; None if it can."""
    available = ort.get_available_providers()
    if "CUDAExecutionProvider" not in available:
        extra = "openvino" if openvino.installed() else "cpu"
        return f"This installation's onnxruntime cannot use a GPU: install chetko[gpu] in place of chetko[{extra}]"
    # The wheels of the extra gpu bring CUDA and cuDNN as Python packages, where no loader looks by itself.
    ort.preload_dlls()
    # That the provider is there says nothing of a device: a session without one quietly gets the CPU.
    try:
        probe = ort.InferenceSession(_IDENTITY, providers=["CUDAExecutionProvider", "CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base class
        return f"The GPU does not work ({error}): look at nvidia-smi"
    if probe.get_providers()[0] != "CUDAExecutionProvider":
        return "onnxruntime found no working GPU, driver or CUDA 13 library: look at nvidia-smi"
    return None


def _register_arena() -> None:
    """One CPU arena for the whole process; onnxruntime takes only the first registration."""
    global _arena_registered  # noqa: PLW0603  mirrors onnxruntime's own per-process state
    with _arena:
        if _arena_registered:
            return
        info = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
        # 0: no limit here (tiles are what is bounded), grow by powers of two (growing by what is asked
        # returns blocks to the system after each run, and doubles the time), -1: onnxruntime's defaults.
        config = ort.OrtArenaCfg(0, 0, -1, -1)
        ort.create_and_register_allocator(info, config)
        _arena_registered = True
