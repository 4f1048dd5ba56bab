"""LPIPS, version 0.1 on AlexNet: how different two pictures look. Lower is closer; 0 is equal.

R. Zhang et al., "The unreasonable effectiveness of deep features as a perceptual metric", CVPR 2018, eq. 1: unit-length
features of five layers, their squared difference weighted per channel, the mean over places, summed over layers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from training.evaluation.datasets import Image8
from training.weights import WeightsError, find_weights

FILE = "lpips_alex.safetensors"

# AlexNet, A. Krizhevsky 2014 ("One weird trick"), as torchvision has it: (features.N, stride, padding, pooled before).
CONVOLUTIONS = ((0, 4, 2, False), (3, 1, 2, True), (6, 1, 1, True), (8, 1, 1, False), (10, 1, 1, False))

# LPIPS's own normalisation, of RGB in [-1, 1].
SHIFT = (-0.030, -0.088, -0.188)
SPREAD = (0.458, 0.448, 0.450)

SMALLEST = 31
"""Pixels of height and width under which AlexNet's second pooling has nothing left."""


def find_lpips_weights(given: Path | None = None) -> Path | None:
    """``given``, or the ``lpips_alex.safetensors`` of this machine (``training.weights``), or None.

    Raises ``WeightsError`` when ``given`` does not exist.
    """
    return find_weights((FILE,), given)


SHIPPED = Path(__file__).parents[2] / "app" / "models" / "_lpips" / "lpips.onnx"


class Distance(Protocol):
    """Something that measures how different two pictures look."""

    def of_pictures(self, first: Image8, second: Image8) -> float:
        """The distance of two pictures, (H, W) or (H, W, 3) uint8; grey is copied to three channels."""


def distance(given: Path | None = None) -> Distance:
    """LPIPS with the weights ``given`` or on this machine; where there are none, the file that Chetko ships.

    The two differ by less than 0.001. Raises ``WeightsError``.
    """
    weights = find_lpips_weights(given)
    return Lpips(weights) if weights else ShippedLpips()


class ShippedLpips:
    """The ONNX file that ``chetko-export --lpips`` makes for the service."""

    def __init__(self) -> None:
        import onnxruntime  # noqa: PLC0415  (only this needs it)

        self._session = onnxruntime.InferenceSession(SHIPPED, providers=["CPUExecutionProvider"])

    def of_pictures(self, first: Image8, second: Image8) -> float:
        """As ``Lpips.of_pictures``."""
        if first.shape != second.shape or min(first.shape[:2]) < SMALLEST:
            raise ValueError(f"LPIPS compares equal sizes from {SMALLEST} px, not {first.shape} with {second.shape}")
        a, b = (np.ascontiguousarray(_rgb(image)[None]) for image in (first, second))
        return float(self._session.run(["distance"], {"first": a, "second": b})[0][0])


class Lpips(nn.Module):
    """The distance of pairs of pictures; frozen, nothing in ``parameters()`` or ``state_dict()``.

    ``path`` is a ``.safetensors`` file of torchvision's ``features.N`` and LPIPS's ``lin0..4.model.1.weight``.
    Raises ``WeightsError`` when it cannot be read or lacks a tensor.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        try:
            weights = load_file(path)
            for index, (position, *_) in enumerate(CONVOLUTIONS):
                for part in ("weight", "bias"):
                    self._keep(f"{part}{index}", weights[f"features.{position}.{part}"])
                self._keep(f"lin{index}", weights[f"lin{index}.model.1.weight"])
        except (OSError, SafetensorError, KeyError) as error:
            raise WeightsError(f"{path} is not LPIPS on AlexNet: {error}") from error
        self._keep("shift", torch.tensor(SHIFT).view(1, 3, 1, 1))
        self._keep("spread", torch.tensor(SPREAD).view(1, 3, 1, 1))

    def _keep(self, name: str, tensor: Tensor) -> None:
        self.register_buffer(name, tensor.float(), persistent=False)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Two (N, 3, H, W) RGB in [0, 1], H and W at least 31 -> (N,), computed in float32."""
        if first.shape != second.shape or min(first.shape[-2:]) < SMALLEST:
            raise ValueError(f"LPIPS compares equal sizes from {SMALLEST} px, not {first.shape} with {second.shape}")
        distance = torch.zeros(first.shape[0], device=first.device)
        with torch.autocast(first.device.type, enabled=False):
            a, b = ((image.float() * 2.0 - 1.0 - self.shift) / self.spread for image in (first, second))
            for index, (_, stride, padding, pooled) in enumerate(CONVOLUTIONS):
                weight, bias = self.get_buffer(f"weight{index}"), self.get_buffer(f"bias{index}")
                if pooled:
                    a, b = (F.max_pool2d(features, 3, 2) for features in (a, b))
                a, b = (F.relu(F.conv2d(features, weight, bias, stride, padding)) for features in (a, b))
                difference = (_unit(a) - _unit(b)) ** 2
                distance = distance + F.conv2d(difference, self.get_buffer(f"lin{index}")).mean(dim=(1, 2, 3))
        return distance

    @torch.no_grad()
    def of_pictures(self, first: Image8, second: Image8) -> float:
        """The distance of two pictures, (H, W) or (H, W, 3) uint8; grey is copied to three channels."""
        a, b = (_batch_of_one(image, self.shift.device) for image in (first, second))
        return float(self(a, b))


def _unit(features: Tensor) -> Tensor:
    """``features`` divided by their length over the channels at each place; zeros stay zeros."""
    return features / (features.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)


def _rgb(image: Image8) -> Image8:
    return np.repeat(image[:, :, None], 3, axis=2) if image.ndim == 2 else image


def _batch_of_one(image: Image8, device: torch.device) -> Tensor:
    """(H, W) or (H, W, 3) uint8 -> (1, 3, H, W), [0, 1]."""
    return torch.tensor(_rgb(image), device=device).permute(2, 0, 1)[None].float() / 255.0
