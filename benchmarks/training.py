"""``make bench-training``: the training loop beside a bare forward + backward + step on a fixed batch, in one run.

Both train the same network from the same batch shape on the same machine; rounds alternate, and medians of each
round's ratio are compared. The loop's side holds everything: drawing, averaging, measuring nothing, one checkpoint.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from training.data import Patches
from training.distributed import Workers
from training.game import Game, Losses
from training.hardware import Hardware, choose_hardware
from training.journal import Silence
from training.loop import train
from training.losses.content import content_loss
from training.networks import NETWORKS, build
from training.pack import Pack, write_pack
from training.schedule import Schedule

TARGET = {"cpu": 0.90, "cuda": 0.85}


def photographs(folder: Path, count: int = 24, edge: int = 512) -> Pack:
    """A pack of smooth noise: what is in the pictures costs nothing, only their size does."""
    random = np.random.default_rng(0)
    pictures = [
        (
            f"{n}",
            (n, n),
            np.kron(random.integers(0, 256, (edge // 8, edge // 8, 3)), np.ones((8, 8, 1))).astype(np.uint8),
        )
        for n in range(count)
    ]
    write_pack(folder / "photos.pack", pictures)
    return Pack(folder / "photos.pack")


def fresh(name: str, scale: int) -> nn.Module:
    torch.manual_seed(0)
    network: nn.Module = build(name, **NETWORKS[name].from_command(scale, filters=None, blocks=None))
    return network


def bare(name: str, patches: Patches, hardware: Hardware, steps: int) -> float:
    """Seconds of ``steps`` bare training steps on one batch."""
    network = fresh(name, patches.scale).to(hardware.device, memory_format=hardware.memory_format).train()
    forward = torch.compile(network) if hardware.compile else network
    optimiser = torch.optim.Adam(network.parameters(), 1e-4)
    batch = patches.batch(0)
    for step in range(steps + 2):
        if step == 2:
            _wait(hardware)
            began = time.perf_counter()
        with torch.autocast(hardware.device.type, torch.bfloat16, enabled=hardware.bf16):
            restored = forward(batch.small)
        loss = F.l1_loss(restored.float(), batch.large)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    _wait(hardware)
    return time.perf_counter() - began


def looped(name: str, patches: Patches, hardware: Hardware, steps: int, folder: Path) -> float:
    """Seconds of ``steps`` steps of the loop, its checkpoint and its first two (warming) steps left out."""
    marks: list[float] = []

    class Clock(Silence):
        def tick(self, *_: object) -> None:
            if len(marks) < 2:
                _wait(hardware)
                marks.append(time.perf_counter())

        def epoch(self, *_: object) -> None:
            _wait(hardware)
            marks.append(time.perf_counter())

    content = content_loss("l1", layer=None, weights=None, scale="8bit", say=print)
    network = fresh(name, patches.scale)
    train(
        Game(network, None, Losses(content, content), hardware=hardware, workers=Workers()),
        patches, Schedule(0, 1, steps + 2, 1e-4), folder,
        hardware=hardware, workers=Workers(), journal=Clock(),
        describe={"network": name, "network_options": network.options, "recipe": {}},
    )  # fmt: skip
    return marks[-1] - marks[1]


def _wait(hardware: Hardware) -> None:
    if hardware.device.type == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=["fast", "srresnet"], choices=sorted(NETWORKS))
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--platform", choices=("cpu", "gpu"), default="gpu")
    options = parser.parse_args()
    hardware = choose_hardware(options.platform, "auto", None)
    target = TARGET[hardware.device.type]
    print(f"{hardware}; batches of 16 fragments of 96 x 96, {options.steps} steps, {options.rounds} rounds")
    for name in options.networks:
        ratios, rates = [], []
        with tempfile.TemporaryDirectory() as scratch:
            patches = Patches(
                photographs(Path(scratch)), options.scale, patch_size=96, batch_size=16, device=hardware.device
            )
            for _ in range(options.rounds):
                plain = bare(name, patches, hardware, options.steps)
                whole = looped(name, patches, hardware, options.steps, Path(scratch) / "run")
                ratios.append(plain / whole)
                rates.append(options.steps / whole)
        ratio = statistics.median(ratios)
        verdict = "within" if ratio >= target else "BELOW"
        print(f"{name:<10} {statistics.median(rates):7.2f} steps/s  {ratio:.3f} of the bare step, {verdict} {target}")


if __name__ == "__main__":
    main()
