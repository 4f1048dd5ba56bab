"""The adversarial term, on the discriminator's logits C(x): ``vanilla`` and ``relativistic``.

``vanilla``: I. Goodfellow et al., "Generative adversarial nets", NeurIPS 2014, D(x) = sigmoid(C(x)), the generator in
its non-saturating form -log D(G(z)), which is also SRGAN's (Ledig et al. 2017, eq. 6).

``relativistic``: A. Jolicoeur-Martineau, "The relativistic discriminator: a key element missing from standard GAN",
ICLR 2019 (arXiv 1807.00734, 2018), section 4.3, RaSGAN: a picture is compared with the average of the other kind,
D(x_r) = sigmoid(C(x_r) - mean C(x_f)), D(x_f) = sigmoid(C(x_f) - mean C(x_r)).

-log sigmoid(c) is softplus(-c) and -log(1 - sigmoid(c)) is softplus(c): finite, with gradient, at every logit, where
log(sigmoid(c)) is -inf from about -104 in float32. Logits of half precision are widened first.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

ADVERSARIALS = ("vanilla", "relativistic")


def generator_loss(kind: str, fake: Tensor, real: Tensor | None = None) -> Tensor:
    """What the generator minimises: a float32 scalar, log 2 (vanilla) or 2 log 2 where the discriminator is undecided.

    ``fake`` and ``real`` are logits (N, 1) for generated and for real pictures. Only ``relativistic`` reads ``real``,
    as a constant: compute it without gradient. Raises ``ValueError`` for an unknown kind or where ``real`` is missing.
    """
    if kind == "vanilla":
        return F.softplus(-fake.float()).mean()
    if real is None:
        _check(kind)
        raise ValueError("the relativistic loss compares with the logits of real pictures; none are given")
    real, fake = _compared(kind, real.detach(), fake)
    return F.softplus(real).mean() + F.softplus(-fake).mean()


def discriminator_loss(kind: str, real: Tensor, fake: Tensor) -> Tensor:
    """What the discriminator minimises: a float32 scalar, 2 log 2 where it is undecided; arguments as above."""
    real, fake = _compared(kind, real, fake)
    return F.softplus(-real).mean() + F.softplus(fake).mean()


@torch.no_grad()
def discriminator_accuracy(kind: str, real: Tensor, fake: Tensor) -> Tensor:
    """The share of pictures, 0..1, that the discriminator tells right (undecided is wrong); a scalar on its device."""
    real, fake = _compared(kind, real, fake)
    return ((real > 0).float().mean() + (fake < 0).float().mean()) / 2


def _check(kind: str) -> None:
    if kind not in ADVERSARIALS:
        raise ValueError(f"there is no adversarial loss {kind!r}; choose one of: {', '.join(ADVERSARIALS)}")


def _compared(kind: str, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """The arguments of the sigmoid for real and for generated pictures, float32."""
    _check(kind)
    real, fake = real.float(), fake.float()
    # The average is over this process's batch, as batch norm's is.
    return (real, fake) if kind == "vanilla" else (real - fake.mean(), fake - real.mean())
