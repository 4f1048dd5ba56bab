"""What moves the weights: Adam, or Muon for the kernels and Adam for the rest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn

Name = Literal["adam", "muon"]

MOMENTUM = 0.95
LIKE_ADAM = 0.2
"""Root mean square of a step, in learning rates: about what Adam's is, so that its rates fit here (Liu 2025, eq. 4)."""
LEAST_CHANNELS = 16
"""A kernel with fewer on either side (from or to RGB) has too few directions to make equal."""
_QUINTIC = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5


def optimizers(name: Name, network: nn.Module, decay: float = 0.0) -> list[torch.optim.Optimizer]:
    """What moves the weights of ``network``. Their rate is 0: it is to be set before every step.

    ``decay`` pulls the kernels between features towards 0 with every one.
    """
    weights = list(network.parameters())
    kernels = [weight for weight in weights if _is_kernel(weight)]
    rest = [weight for weight in weights if not _is_kernel(weight)]
    parts = ((adam, weights),) if name == "adam" else ((Muon, kernels), (adam, rest))
    return [make(part) for make, part in parts if part] + ([Decay(kernels, decay)] if decay and kernels else [])


def adam(weights: Iterable[Tensor]) -> torch.optim.Optimizer:
    """Adam with what is the same in every run; its rate, too, is to be set."""
    return torch.optim.Adam(weights, lr=0.0, betas=(0.9, 0.99))


class Decay(torch.optim.Optimizer):
    """Weights shrink by ``decay`` times the rate in every step (I. Loshchilov, F. Hutter, "Decoupled weight decay
    regularization", 2019, algorithm 2).

    Apart from the gradient's optimizer, so that it is the same beside each of them. Muon needs it in long runs: its
    steps are as long however small the gradient is, kernels grow, and with them what a network makes of noise (J. Liu
    et al., "Muon is scalable for LLM training", 2025, section 2.2).
    """

    def __init__(self, weights: Iterable[Tensor], decay: float) -> None:
        super().__init__(weights, {"lr": 0.0})
        self._decay = decay

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # noqa: ARG002 - torch's signature
        """Shrinks all weights; ``closure`` is not called."""
        for group in self.param_groups:
            torch._foreach_mul_(group["params"], 1 - group["lr"] * self._decay)


def _is_kernel(weight: Tensor) -> bool:
    return weight.ndim == 4 and min(weight.shape[:2]) >= LEAST_CHANNELS


class Muon(torch.optim.Optimizer):
    """Momentum whose step is made orthogonal: every direction of a kernel moves equally far.

    K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024; the length of a step is that of
    J. Liu et al., "Muon is scalable for LLM training", 2025. A convolution's kernel (out, in, h, w) is the matrix
    (out, in * h * w) of Jordan's CIFAR program. A gradient is dominated by a few directions - in super-resolution the
    smooth ones, which are right after minutes - and Adam, which looks at each weight alone, learns the others slowly.
    """

    def __init__(self, kernels: Iterable[Tensor]) -> None:
        super().__init__(kernels, {"lr": 0.0, "momentum": MOMENTUM})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # noqa: ARG002 - torch's signature
        """One step of all kernels that have a gradient; ``closure`` is not called."""
        for group in self.param_groups:
            alike: dict[tuple[int, ...], list[Tensor]] = defaultdict(list)
            for kernel in group["params"]:
                if kernel.grad is not None:
                    alike[tuple(kernel.shape)].append(kernel)
            for kernels in alike.values():
                self._move(kernels, group["lr"], group["momentum"])

    def _move(self, kernels: list[Tensor], rate: float, momentum: float) -> None:
        """Moves kernels of one shape, whose matrices are multiplied together."""
        directions = []
        for kernel in kernels:
            state = self.state[kernel]
            if not state:
                state["momentum"] = torch.zeros_like(kernel)
            state["momentum"].lerp_(kernel.grad, 1 - momentum)
            directions.append(kernel.grad.lerp(state["momentum"], momentum).flatten(1))  # Nesterov's
        steps = orthogonal(torch.stack(directions))
        length = LIKE_ADAM * max(steps.shape[-2:]) ** 0.5
        for kernel, step in zip(kernels, steps, strict=True):
            kernel.sub_(step.view(kernel.shape), alpha=rate * length)


def orthogonal(matrices: Tensor) -> Tensor:
    """(N, R, C) -> the same with all singular values between about 0.7 and 1.2 and the same singular vectors.

    Five steps of Jordan's quintic Newton-Schulz iteration X <- (a + b XX' + c (XX')^2) X, whose coefficients trade
    exactness for speed. Only XX' is iterated here, and X multiplied once by the product of the polynomials, which
    commute: for a 3x3 kernel, 9 times as wide as tall, 76 R^3 operations instead of 190 R^3.
    """
    a, b, c = _QUINTIC
    if matrices.shape[-2] > matrices.shape[-1]:
        return orthogonal(matrices.mT).mT
    matrices = matrices / (matrices.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    gram = matrices @ matrices.mT
    identity = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    product = identity
    for _ in range(_ITERATIONS):
        polynomial = a * identity + b * gram + c * gram @ gram
        product = polynomial @ product
        gram = polynomial @ gram @ polynomial
    return product @ matrices
