"""One training step: the generator's, and the discriminator's answer to it.

C. Ledig et al., "Photo-realistic single image super-resolution using a generative adversarial network", CVPR 2017:
the players of eq. 2, the generator's loss of eq. 3. Without a discriminator it is plain training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from training.data import Batch
from training.distributed import Workers
from training.ema import Ema
from training.hardware import Hardware
from training.losses.adversarial import discriminator_accuracy, discriminator_loss, generator_loss
from training.optimizers import Name, adam, optimizers

Stage = Literal["pretrain", "content", "adversarial"]


@dataclass(frozen=True)
class Losses:
    """What is minimised."""

    pixels: nn.Module
    """(SR, HR) -> scalar: of the generator alone (``pretrain``)."""
    content: nn.Module
    """(SR, HR) -> scalar: after that."""
    content_weight: float = 1.0
    anchor: nn.Module | None = None
    """(SR, HR) -> scalar: of pixels, beside the content; what VGG features do not see would drift."""
    anchor_weight: float = 0.0
    adversarial_weight: float = 0.0
    adversarial: Literal["vanilla", "relativistic"] = "vanilla"


class Game:
    """The networks that learn, with their optimizers and the generator's average."""

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module | None,
        losses: Losses,
        *,
        hardware: Hardware,
        workers: Workers,
        ema_decay: float = 0.999,
        clip: float = 0.0,
        optimizer: Name = "adam",
        decay: float = 0.0,
    ) -> None:
        """``clip``: largest norm of the generator's gradient, 0 for none. ``optimizer``: what moves the generator,
        whose kernels decay by ``decay`` times the rate in a step; the discriminator has Adam alone."""
        self.losses = losses
        self._workers = workers
        self._clip = clip
        device, memory = hardware.device, hardware.memory_format
        self._autocast = torch.autocast(device.type, torch.bfloat16, enabled=hardware.bf16)
        self.generator = generator.to(device, memory_format=memory).train()
        self.ema = Ema(generator, ema_decay)
        self._optimizers = optimizers(optimizer, generator, decay)
        self._restore = torch.compile(generator) if hardware.compile else generator
        self.discriminator = discriminator
        if discriminator is not None:
            discriminator.to(device, memory_format=memory).train()
            self._judge_optimizer = adam(discriminator.parameters())
            self._judge = torch.compile(discriminator) if hardware.compile else discriminator

    def set_rate(self, rate: float) -> None:
        """The learning rate of both players."""
        for optimizer in (*self._optimizers, *([self._judge_optimizer] if self.discriminator is not None else [])):
            for group in optimizer.param_groups:
                group["lr"] = rate

    def generator_step(self, batch: Batch, stage: Stage, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Moves the generator once. Returns (SR of the batch, the losses by name), on the device."""
        with self._autocast:
            restored = self._restore(batch.small)
        restored = restored.float()
        told: dict[str, Tensor] = {}
        if stage == "pretrain":
            loss = self.losses.pixels(restored, batch.large)
        else:
            told["content"] = self.losses.content(restored, batch.large)
            loss = self.losses.content_weight * told["content"]
            if self.losses.anchor is not None:
                told["pixels"] = self.losses.anchor(restored, batch.large)
                loss = loss + self.losses.anchor_weight * told["pixels"]
        if stage == "adversarial":
            told["adversarial"] = self._fooling(restored, batch.large)
            loss = loss + self.losses.adversarial_weight * told["adversarial"]
        self.generator.zero_grad(set_to_none=True)
        loss.backward()
        self._workers.average_gradients(self.generator)
        if self._clip:
            nn.utils.clip_grad_norm_(self.generator.parameters(), self._clip)
        for optimizer in self._optimizers:
            optimizer.step()
        self.ema.update(self.generator, step)
        return restored.detach(), {"loss": loss, **told}

    def learns(self) -> bool:
        """Whether the gradient of the generator's last step reached any weight (biases apart). Waits for the device.

        Where the activations before the last layer have died (a ReLU is zero for every input), none does, ever again.
        """
        gradients = [each.grad for each in self.generator.parameters() if each.ndim > 1 and each.grad is not None]
        return not gradients or any(bool(gradient.any()) for gradient in gradients)

    def _fooling(self, restored: Tensor, real: Tensor) -> Tensor:
        """How badly the discriminator is fooled. It stands still here: gradients pass through it to ``restored``."""
        assert self.discriminator is not None  # noqa: S101  # the stage is adversarial
        self.discriminator.requires_grad_(False)
        with self._autocast:
            fake = self._judge(restored)
            known = self._judge(real) if self.losses.adversarial == "relativistic" else None
        self.discriminator.requires_grad_(True)
        return generator_loss(self.losses.adversarial, fake, known)

    def discriminator_step(self, restored: Tensor, real: Tensor) -> dict[str, Tensor]:
        """Moves the discriminator once, on (SR, HR) of a batch; returns its loss and how often it was right."""
        assert self.discriminator is not None  # noqa: S101  # the stage is adversarial
        kind = self.losses.adversarial
        with self._autocast:
            of_real, of_fake = self._judge(real), self._judge(restored)
        loss = discriminator_loss(kind, of_real, of_fake)
        self._judge_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._workers.average_gradients(self.discriminator)
        self._judge_optimizer.step()
        return {"discriminator": loss, "accuracy": discriminator_accuracy(kind, of_real, of_fake)}

    def state(self) -> dict[str, Any]:
        """All that a run needs to go on, but for its step."""
        playing = self.discriminator is not None
        return {
            "weights": self.generator.state_dict(), "ema": self.ema.network.state_dict(),
            "optimiser": [each.state_dict() for each in self._optimizers],
            "discriminator": self.discriminator.state_dict() if playing else None,
            "judges": self._judge_optimizer.state_dict() if playing else None,
        }  # fmt: skip

    def load(self, state: dict[str, Any]) -> None:
        """Puts back what ``state`` gave. A discriminator that the state does not have stays fresh."""
        self.generator.load_state_dict(state["weights"])
        self.ema.network.load_state_dict(state["ema"])
        saved = state["optimiser"]  # a list, or Adam's alone in older checkpoints
        for optimizer, its in zip(self._optimizers, saved if isinstance(saved, list) else [saved], strict=True):
            optimizer.load_state_dict(its)
        if self.discriminator is not None and state["discriminator"] is not None:
            self.discriminator.load_state_dict(state["discriminator"])
            self._judge_optimizer.load_state_dict(state["judges"])

    def share(self) -> None:
        """Gives all processes the chief's networks."""
        self._workers.share([self.generator, self.ema.network])
        if self.discriminator is not None:
            self._workers.share([self.discriminator])
