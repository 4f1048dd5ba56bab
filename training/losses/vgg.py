"""VGG as a frozen feature extractor: the space in which the content loss of SRGAN compares pictures.

K. Simonyan and A. Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015,
configurations D (VGG16) and E (VGG19). As a loss: J. Johnson et al., "Perceptual losses for real-time style transfer
and super-resolution", ECCV 2016, eq. 2; C. Ledig et al., "Photo-realistic single image super-resolution using a
generative adversarial network", CVPR 2017, eq. 5.
"""

from __future__ import annotations

import urllib.error
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from training.weights import WeightsError, find_weights

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Per-channel mean and deviation of ImageNet's RGB in [0, 1]; torchvision's weights expect (image - MEAN) / STD."""

BLOCKS = {"VGG19": (2, 2, 4, 4, 4), "VGG16": (2, 2, 3, 3, 3)}
"""Convolutions between one 2x2 max-pooling and the next."""

FILES = ("vgg19-dcbb9e9d.pth", "vgg16-397923af.pth", "vgg16_features_fp16.safetensors")
"""File names as their publishers give them, best first: VGG19 is what the papers used."""

DOWNLOAD = Path("download")
"""Given as the path of the weights, it asks for torchvision's VGG19 to be fetched."""

DOWNLOAD_URL = "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"
DOWNLOAD_SHA256_PREFIX = "dcbb9e9d"


def layers_of(kind: str) -> dict[str, int]:
    """{``convB_I``: N} in network order: the I-th convolution of block B is torchvision's ``features.N``."""
    layers, position = {}, 0
    for block, depth in enumerate(BLOCKS[kind], start=1):
        for index in range(1, depth + 1):
            layers[f"conv{block}_{index}"] = position
            position += 2  # the convolution and its ReLU
        position += 1  # the pooling
    return layers


def layer_named(name: str | None, kind: str) -> str:
    """``name`` in the form ``conv5_4``; ``relu5_4`` (Johnson's) is the same layer; None is the last convolution.

    That default is Ledig's phi_5,4 in VGG19 (the SRGAN of the paper) and conv5_3, its counterpart, in VGG16.
    Raises ``ValueError`` with the names that ``kind`` has.
    """
    layers = layers_of(kind)
    if name is None:
        return list(layers)[-1]
    layer = "conv" + name[4:] if name.startswith("relu") else name
    if layer not in layers:
        raise ValueError(f"{kind} has no layer {name!r}; choose one of: {', '.join(layers)}")
    return layer


class VggFeatures(nn.Module):
    """RGB in [0, 1], (N, 3, H, W) -> features after the ReLU of one layer, (N, C, H / 2^p, W / 2^p), rounded down.

    p is how many poolings the layer has before it. The weights are constants: ``parameters()`` and ``state_dict()`` are
    empty, so that no optimizer moves them and no checkpoint carries them. What lies behind the chosen layer is not
    kept. Always computed in float32, under autocast too: see ``forward``.
    """

    def __init__(self, weights: Mapping[str, Tensor], layer: str | None = None) -> None:
        """``weights`` are named as torchvision does, ``features.N.weight`` and ``.bias``; others are passed over.

        Raises ``WeightsError`` when they are not VGG16's or VGG19's, ``ValueError`` when there is no such ``layer``.
        """
        super().__init__()
        self.kind = _kind_of(weights)
        self.layer = layer_named(layer, self.kind)
        self.steps: list[str] = []
        block = "1"
        for name, position in layers_of(self.kind).items():
            if name[4] != block:
                self.steps.append("pool")
                block = name[4]
            self.steps.append(name)
            weight, bias = (weights[f"features.{position}.{part}"].float() for part in ("weight", "bias"))
            self.register_buffer(
                f"{name}_weight", weight.contiguous(memory_format=torch.channels_last), persistent=False
            )
            self.register_buffer(f"{name}_bias", bias, persistent=False)
            if name == self.layer:
                break
        self.smallest = 2 ** self.steps.count("pool")
        """Height and width in pixels that a picture needs at least."""
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)

    @classmethod
    def load(cls, path: Path, layer: str | None = None) -> VggFeatures:
        """From torchvision's ``.pth`` of VGG16 or VGG19 as published, or a ``.safetensors`` with the same names.

        Raises ``WeightsError`` when the file cannot be read or is another network's, ``ValueError`` as the constructor.
        """
        try:
            if path.suffix == ".safetensors":
                weights = load_file(path)
            else:
                # torchvision's files are of the old format, which cannot be mapped; a file saved anew can.
                mapped = zipfile.is_zipfile(path)
                weights = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
        except Exception as error:  # torch and safetensors raise whatever their readers met
            raise WeightsError(f"{path} cannot be read as weights: {error}") from error
        try:
            return cls(weights, layer)
        except WeightsError as error:
            raise WeightsError(f"{path}: {error}") from error

    def forward(self, image: Tensor) -> Tensor:
        if min(image.shape[-2:]) < self.smallest:
            size = f"{image.shape[-1]} x {image.shape[-2]}"
            raise ValueError(f"{self.layer} needs pictures of {self.smallest} x {self.smallest} px or more, not {size}")
        # The loss is the small difference of two large features. In bf16 that turns its gradient: on Set14 patches
        # near the real picture the error is 0.2 to 0.35 of the gradient's length (VGG16, conv5_3; float16 0.1).
        with torch.autocast(image.device.type, enabled=False):
            features = (image.float().contiguous(memory_format=torch.channels_last) - self.mean) / self.std
            for step in self.steps:
                if step == "pool":
                    features = F.max_pool2d(features, 2)
                else:
                    weight, bias = self.get_buffer(f"{step}_weight"), self.get_buffer(f"{step}_bias")
                    features = F.relu_(F.conv2d(features, weight, bias, padding=1))
            return features


def _kind_of(weights: Mapping[str, Tensor]) -> str:
    """The deepest kind whose convolutions are all there with VGG's 3x3 kernels."""
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()} if isinstance(weights, Mapping) else {}
    for kind in BLOCKS:
        places = [f"features.{position}" for position in layers_of(kind).values()]
        if all(shapes.get(f"{place}.weight", ())[2:] == (3, 3) and f"{place}.bias" in shapes for place in places):
            return kind
    raise WeightsError(f"these are not the weights of {' or '.join(BLOCKS)}: torchvision's names features.N are taken")


def find_vgg_weights(given: Path | None = None) -> Path | None:
    """The file to load: ``given``, or the best one on this machine (``training.weights``), or None.

    ``Path("download")`` fetches torchvision's VGG19 (575 MB) into torch hub's cache, once, and checks its SHA-256
    against the published prefix. Raises ``WeightsError`` when that fails or ``given`` does not exist.
    """
    return find_weights(FILES, given) if given != DOWNLOAD else _download()


def _download() -> Path:
    target = Path(torch.hub.get_dir()) / "checkpoints" / FILES[0]
    if not target.is_file():
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            # Written beside and moved into place only when the checksum is right.
            torch.hub.download_url_to_file(DOWNLOAD_URL, str(target), hash_prefix=DOWNLOAD_SHA256_PREFIX)
        except (OSError, urllib.error.URLError, RuntimeError) as error:
            raise WeightsError(f"{DOWNLOAD_URL} could not be fetched to {target}: {error}") from error
    return target
