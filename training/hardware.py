"""Which processor trains, in which precision and memory layout."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import nn


@dataclass(frozen=True, slots=True)
class Hardware:
    """What the loop needs to know of the machine."""

    device: torch.device
    bf16: bool
    """Forward and backward passes multiply in bfloat16; weights, losses and optimizers stay float32."""
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
    """Whether a training step is faster in bf16 than in float32 there.

    A processor without AVX512-BF16 or AMX emulates it and takes several times as long (measured with `fast` on an AVX2
    machine: 3 to 5 times). One that has them takes half the time (AMD's Genoa) or twice as long (an Intel Xeon whose
    hypervisor hides AMX): there a convolution is timed in both.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    has = torch.cpu.get_capabilities()
    return bool(has.get("avx512_bf16") or has.get("amx_bf16")) and bf16_beside_float32() < 1


@cache
def bf16_beside_float32() -> float:
    """Time of a convolution in bf16, forward and backward, as a multiple of float32's; one thread, takes 0.3 s.

    64 to 64 channels of 8 fragments of 32 x 32, each in the layout that ``Hardware.memory_format`` gives it.
    The shortest of alternating runs are compared, since what else the machine does only ever adds to a run.
    """
    ways = [Hardware(torch.device("cpu"), bf16, compile=False) for bf16 in (False, True)]
    layers = [nn.Conv2d(64, 64, 3, padding=1).to(memory_format=way.memory_format) for way in ways]
    shortest = [math.inf] * len(ways)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more would wait for whatever else has a core
    try:
        for _ in range(6):
            for number, (way, layer) in enumerate(zip(ways, layers, strict=True)):
                fragments = torch.ones(8, 64, 32, 32).contiguous(memory_format=way.memory_format).requires_grad_()
                began = time.perf_counter()
                with torch.autocast("cpu", torch.bfloat16, enabled=way.bf16):
                    made = layer(fragments)
                made.backward(torch.ones_like(made))
                shortest[number] = min(shortest[number], time.perf_counter() - began)
    finally:
        torch.set_num_threads(threads)
    return shortest[1] / shortest[0]
