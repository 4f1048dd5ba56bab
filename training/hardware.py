"""Which processor trains, in which precision and memory layout."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Hardware:
    """What the loop needs to know of the machine."""

    device: torch.device
    bf16: bool
    """Forward and backward passes multiply in bfloat16; weights, losses and optimisers stay float32."""
    compile: bool

    @property
    def memory_format(self) -> torch.memory_format:
        """Channels last where convolutions are fastest so: on a GPU, and for bf16 on a processor."""
        # float32 with AVX2 or AVX-512 takes oneDNN's own blocked layout either way.
        return torch.channels_last if self.bf16 or self.device.type == "cuda" else torch.contiguous_format

    def __str__(self) -> str:
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"
        precision = "bf16" if self.bf16 else "float32"
        threads = "" if self.device.type == "cuda" else f", {torch.get_num_threads()} threads"
        return f"{name}, {precision}{threads}{', compiled' if self.compile else ''}"


def choose_hardware(
    platform: str,
    precision: str,
    compiled: bool | None,
    *,
    say: Callable[[str], None] = print,
) -> Hardware:
    """``platform`` gpu or cpu, ``precision`` auto, bf16 or float32, as on the command line."""
    device = torch.device("cpu")
    if platform == "gpu" and torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.backends.cudnn.benchmark = True  # fragments all have one shape: the search pays at once
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
    elif platform == "gpu":
        say("no CUDA device is available: training on the CPU (--platform cpu says the same without this line)")
    bf16 = multiplies_bf16(device) if precision == "auto" else precision == "bf16"
    return Hardware(device, bf16, device.type == "cuda" if compiled is None else compiled)


def multiplies_bf16(device: torch.device) -> bool:
    """Whether bf16 is faster than float32 there.

    On a processor with AVX512-BF16 or AMX it takes half the time; without them it is emulated and takes several
    times as long (measured with `fast` on an AVX2 machine: 3 to 5 times).
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    has = torch.cpu.get_capabilities()
    return bool(has.get("avx512_bf16") or has.get("amx_bf16"))
