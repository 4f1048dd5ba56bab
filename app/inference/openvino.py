"""OpenVINO, onnxruntime's execution provider that multiplies bfloat16 on a CPU: whether it is here, whether it is worth
it, and its options."""

from __future__ import annotations

import json
import time

import numpy as np
import onnxruntime as ort

from app.inference.cpus import multiplies_bf16

OPENVINO = "OpenVINOExecutionProvider"

WORTH_IT = 0.9
"""It is taken where it needs at most this part of float32's time: for less nobody should lose 0.03 dB."""
_ROUNDS = 6
CHANNELS, EDGE = 48, 72
"""Not 64: there, and at 96 and 128, convolutions without anything between them take twice as long in bfloat16 on AMD's
Zen 5 (family 26), as long as float32's, which `fast` and `srgan` do at no size (0.40 to 0.56 of float32's time)."""
CONVOLUTIONS = bytes.fromhex(
    "08083a90020a320a0173120177220f436f6e7374616e744f6653686170652a190a0576616c75652a0d08011001220426b417"
    "3b420176a001040a220a01780a01771201302204436f6e762a110a04706164734001400140014001a001070a220a01300a01"
    "771201312204436f6e762a110a04706164734001400140014001a001070a220a01310a01771201322204436f6e762a110a04"
    "706164734001400140014001a001070a220a01320a01771201792204436f6e762a110a04706164734001400140014001a001"
    "071201702a0d080410073a04303003034201735a1b0a017812160a14080112100a0208010a0208300a0208480a020848621b"
    "0a017912160a14080112100a0208010a0208300a0208480a02084842040a001011"
)
"""An ONNX file: four 3x3 convolutions of CHANNELS on EDGE x EDGE pixels, as `fast` has. Their weights are all 1/(9 x
CHANNELS) and made inside (ConstantOfShape, which both providers compute once, when they load the file)."""


def installed() -> bool:
    return OPENVINO in ort.get_available_providers()


def provider(threads: int) -> tuple[str, dict[str, str]]:
    """Its name and options for bfloat16."""
    config = {
        "INFERENCE_PRECISION_HINT": "bf16",
        # Pinned, the threads of every process would sit on the same first cores.
        "ENABLE_CPU_PINNING": "NO",
        # What it has prepared for a shape it keeps, 5,000 entries of a session unless told: 0.4 MB for each shape of
        # `fast`. A shape that comes back after others have pushed it out takes half a millisecond more.
        "CPU_RUNTIME_CACHE_CAPACITY": "32",
    }
    return OPENVINO, {"device_type": "CPU", "num_of_threads": str(threads), "load_config": json.dumps({"CPU": config})}


def trouble() -> str | None:
    """What keeps it from multiplying bfloat16 here; None if it can."""
    if not installed():
        return "OpenVINO is not installed (chetko[openvino])"
    if not multiplies_bf16():
        return "this processor has no instructions for bfloat16"
    # That the provider is installed does not say that its libraries can be loaded: as with CUDA, a session without
    # them quietly gets the CPU.
    try:
        session = _session(bf16=True)
    except Exception as error:  # onnxruntime's exceptions share no base class
        return f"OpenVINO does not work ({error})"
    if session.get_providers()[0] != OPENVINO:
        return "OpenVINO's libraries cannot be loaded"
    return None


def time_beside_float32() -> float:
    """Its time for `fast`'s convolutions as a multiple of float32's by onnxruntime, on one thread; takes 0.2 s.

    That a processor has the instructions does not say that they are fast: on AMD's Genoa they take half the time of
    float32, on an Intel Xeon whose hypervisor hides AMX twice as long. The shortest of alternating runs are compared,
    since what else the machine does only ever adds to a run.
    """
    # float32 by onnxruntime's own provider: that is what runs if this is not taken.
    sessions = [_session(bf16=False), _session(bf16=True)]
    picture = np.ones((1, CHANNELS, EDGE, EDGE), np.float32)
    shortest = [float("inf")] * 2
    for _ in range(_ROUNDS):
        for number, session in enumerate(sessions):
            began = time.perf_counter()
            session.run(None, {"x": picture})
            shortest[number] = min(shortest[number], time.perf_counter() - began)
    return shortest[1] / shortest[0]


def _session(*, bf16: bool) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    cpu = ["CPUExecutionProvider"]
    return ort.InferenceSession(CONVOLUTIONS, options, providers=[provider(1), *cpu] if bf16 else cpu)
