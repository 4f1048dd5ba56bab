"""Several processes that train one network, started by ``torchrun``: who they are, and how gradients become one.

Each process draws its own rows of the batch, and gradients are averaged before every step, so W processes with batch
B do what one does with batch W x B (batch normalisation aside: its statistics stay each process's own). This is what
DistributedDataParallel does; written out, since its hooks want one backward pass for each forward pass, which
adversarial training does not give, and since the networks are so small that one flat all-reduce is the fast way.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Workers:
    """This process among those of the run."""

    rank: int = 0
    """0 is the one that reports, measures and saves."""
    world: int = 1
    """How many processes there are."""
    local_rank: int = 0
    """Which GPU of its machine is this process's."""

    @property
    def chief(self) -> bool:
        return self.rank == 0

    def average_gradients(self, network: nn.Module) -> None:
        """Replaces each gradient of ``network`` by its mean over all processes."""
        if self.world == 1:
            return
        gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.world
        parts = flat.split([gradient.numel() for gradient in gradients])
        torch._foreach_copy_(gradients, [part.view_as(g) for part, g in zip(parts, gradients, strict=True)])

    def share(self, networks: Iterable[nn.Module]) -> None:
        """Gives all processes the weights of the chief."""
        if self.world > 1:
            for network in networks:
                for tensor in network.state_dict().values():
                    dist.broadcast(tensor, src=0)

    def mean(self, values: Tensor) -> Tensor:
        """The mean of ``values`` over all processes."""
        if self.world > 1:
            dist.all_reduce(values)
            values = values / self.world
        return values

    def clock(self, seconds: float, device: torch.device) -> float:
        """The chief's ``seconds``: all must agree on when the time is over. Waits for the device."""
        if self.world == 1:
            return seconds
        shared = torch.tensor([seconds], dtype=torch.float64, device=device)
        dist.broadcast(shared, src=0)
        return float(shared.item())

    def wait(self) -> None:
        """Returns when all processes have come here."""
        if self.world > 1:
            dist.barrier()


def join(device: torch.device) -> Workers:
    """Joins the other processes where ``torchrun`` started several; else this is the only one."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return Workers()
    workers = Workers(int(os.environ["RANK"]), world, int(os.environ.get("LOCAL_RANK", "0")))
    if device.type == "cuda":
        torch.cuda.set_device(workers.local_rank)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", rank=workers.rank, world_size=world)
    return workers


def leave(code: int) -> None:
    """Ends what ``join`` began, where it began anything: then this process ends here, with ``code``.

    At once, without taking the interpreter down: gloo's threads may still be letting go of tensors, and one that asks
    for the interpreter's lock after that is gone takes the process down with SIGABRT (seen once in a busy test run).
    """
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
