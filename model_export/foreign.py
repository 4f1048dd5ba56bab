"""Networks of other projects, recognised by the names and shapes of their tensors.

Three families are known, RGB in and out:

- ``SRVGGNetCompact`` (Real-ESRGAN): 3x3 convolutions, one sub-pixel shuffle, nearest-neighbour skip;
- ``MSRResNet`` (BasicSR): residual blocks without batch normalisation, bilinear skip;
- ``SRResNet`` of Ledig et al. 2017 with its 9x9 ends, in two layouts: ``conv1 / trunk / conv2 / upsampling / conv3``
  (Lornatang's SRGAN-PyTorch; older: ``conv_block1..3``), whose output is linear, and ``block1 .. block8``
  (leftthomas's SRGAN and its many copies), whose output is (tanh + 1) / 2.

Each class has what the exporter asks of a network: ``scale``, ``options`` and ``receptive_field_radius`` (input
pixels), and takes (N, 3, H, W) in [0, 1] to (N, 3, scale*H, scale*W), not clamped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

# Under which key of the file the weights lie; averaged weights first.
WRAPPERS = ("params_ema", "params", "state_dict", "model_state_dict", "generator", "model")

COMPACT_SLOPE = 0.1
"""SRVGGNetCompact's and MSRResNet's LeakyReLU."""


class ForeignError(Exception):
    """A file that holds no network that is known here; the message says what it holds instead."""


class SRVGGNetCompact(nn.Module):
    """X. Wang et al., Real-ESRGAN (ICCVW 2021), the repository's compact network.

    ``layers`` counts all convolutions; ``prelu``: slopes per channel, else LeakyReLU.
    """

    def __init__(self, scale: int, layers: int, filters: int, *, prelu: bool) -> None:
        super().__init__()
        self.scale = scale
        self.options = {"scale": scale, "layers": layers, "filters": filters}
        self.receptive_field_radius = float(layers)
        widths = [3, *[filters] * (layers - 1), 3 * scale * scale]
        self.body = nn.ModuleList()
        for index in range(layers):
            self.body.append(nn.Conv2d(widths[index], widths[index + 1], 3, padding=1))
            if index < layers - 1:
                self.body.append(nn.PReLU(filters) if prelu else nn.LeakyReLU(COMPACT_SLOPE))

    def forward(self, image: Tensor) -> Tensor:
        features = image
        for layer in self.body:
            features = layer(features)
        # The nearest-neighbour skip, added before the shuffle: the same sum at a 1/scale^2 of the pixels.
        skip = torch.repeat_interleave(image, self.scale * self.scale, dim=1)
        return F.pixel_shuffle(features + skip, self.scale)


class _PlainBlock(nn.Module):
    def __init__(self, filters: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(filters, filters, 3, padding=1)
        self.conv2 = nn.Conv2d(filters, filters, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.conv2(F.relu(self.conv1(features)))


class MSRResNet(nn.Module):
    """BasicSR's SRResNet: no batch normalisation, 3x3 layers only, bilinear enlargement as the global skip."""

    def __init__(self, scale: int, blocks: int, filters: int) -> None:
        super().__init__()
        self.scale = scale
        self.options = {"scale": scale, "blocks": blocks, "filters": filters}
        # 1 for the head, 2 a block; then a layer counts less the larger the picture already is.
        after = (1.0, 0.5) if scale == 4 else (1.0,)
        self.receptive_field_radius = 1.0 + 2.0 * blocks + sum(after) + 2.0 / scale
        self.conv_first = nn.Conv2d(3, filters, 3, padding=1)
        self.body = nn.Sequential(*[_PlainBlock(filters) for _ in range(blocks)])
        self.step = 2 if scale == 4 else scale
        self.upconv1 = nn.Conv2d(filters, filters * self.step**2, 3, padding=1)
        self.upconv2 = nn.Conv2d(filters, filters * 4, 3, padding=1) if scale == 4 else None
        self.conv_hr = nn.Conv2d(filters, filters, 3, padding=1)
        self.conv_last = nn.Conv2d(filters, 3, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        features = self.body(_leaky(self.conv_first(image)))
        for enlarging in (self.upconv1, self.upconv2):
            if enlarging is not None:
                # The activation before the shuffle instead of after it: the same numbers, fused by the runtime.
                features = F.pixel_shuffle(_leaky(enlarging(features)), self.step)
        detail = self.conv_last(_leaky(self.conv_hr(features)))
        return detail + F.interpolate(image, scale_factor=self.scale, mode="bilinear", align_corners=False)


def _leaky(features: Tensor) -> Tensor:
    return F.leaky_relu(features, COMPACT_SLOPE)


class _NormalisedBlock(nn.Module):
    def __init__(self, filters: int, *, bias: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(filters, filters, 3, padding=1, bias=bias)
        self.bn1 = nn.BatchNorm2d(filters)
        self.prelu = nn.PReLU()
        self.conv2 = nn.Conv2d(filters, filters, 3, padding=1, bias=bias)
        self.bn2 = nn.BatchNorm2d(filters)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.bn2(self.conv2(self.prelu(self.bn1(self.conv1(features)))))


class _Enlarging(nn.Module):
    def __init__(self, filters: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(filters, filters * 4, 3, padding=1)
        self.prelu = nn.PReLU()

    def forward(self, features: Tensor) -> Tensor:
        return F.pixel_shuffle(self.prelu(self.conv(features)), 2)


class LedigSRResNet(nn.Module):
    """C. Ledig et al., "Photo-realistic single image super-resolution using a generative adversarial network" (CVPR
    2017), section 2.1, with batch normalisation. ``tanh``: the output is (tanh + 1) / 2, else as it comes."""

    def __init__(self, scale: int, blocks: int, filters: int, *, bias: bool, tanh: bool) -> None:
        super().__init__()
        self.scale = scale
        self.options = {"scale": scale, "blocks": blocks, "filters": filters, "tanh": tanh}
        enlargings = {2: 1, 4: 2}[scale]
        radius = 4.0 + 2.0 * blocks + 1.0 + sum(0.5**step for step in range(enlargings)) + 4.0 / scale
        self.receptive_field_radius = radius
        self.tanh = tanh
        self.head = nn.Conv2d(3, filters, 9, padding=4)
        self.prelu = nn.PReLU()
        self.body = nn.Sequential(*[_NormalisedBlock(filters, bias=bias) for _ in range(blocks)])
        self.merge = nn.Conv2d(filters, filters, 3, padding=1, bias=bias)
        self.norm = nn.BatchNorm2d(filters)
        self.enlarge = nn.Sequential(*[_Enlarging(filters) for _ in range(enlargings)])
        self.tail = nn.Conv2d(filters, 3, 9, padding=4)

    def forward(self, image: Tensor) -> Tensor:
        first = self.prelu(self.head(image))
        features = first + self.norm(self.merge(self.body(first)))
        out = self.tail(self.enlarge(features))
        return (torch.tanh(out) + 1.0) / 2.0 if self.tanh else out

    def for_serving(self) -> LedigSRResNet:
        """Itself with the batch normalisations folded into the convolutions before them."""
        self.eval()
        for block in self.body:
            block.conv1, block.bn1 = fuse_conv_bn_eval(block.conv1, block.bn1), nn.Identity()
            block.conv2, block.bn2 = fuse_conv_bn_eval(block.conv2, block.bn2), nn.Identity()
        self.merge, self.norm = fuse_conv_bn_eval(self.merge, self.norm), nn.Identity()
        return self


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The weights in a ``.safetensors`` or PyTorch file, unwrapped, without ``module.`` before their names.

    Only tensors and plain values are unpickled (``weights_only``). Raises ``ForeignError``.
    """
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ForeignError(f"{path} does not exist") from error
    except SafetensorError as error:
        raise ForeignError(f"{path} is no .safetensors file: {error}") from error
    except Exception as error:  # torch raises whatever its unpickler met
        raise ForeignError(f"{path} is no file of weights that is safe to read: {error}") from error
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    if not isinstance(content, Mapping):
        raise ForeignError(f"{path} holds no named tensors but a {type(content).__name__}")
    tensors = {str(name).removeprefix("module."): value for name, value in content.items()}
    named = {name: value.float() for name, value in tensors.items() if isinstance(value, Tensor)}
    if not named:
        raise ForeignError(f"{path} holds no tensors; its keys are: {_some(list(tensors))}")
    return named


def recognise(tensors: Mapping[str, Tensor]) -> nn.Module:
    """The network whose weights these are, in eval mode.

    Raises ``ForeignError`` with the names seen when none of the known layouts fits, and with the mismatch when one
    almost does.
    """
    for layout in (_compact, _msrresnet, _trunk, _blocks):
        found = layout(tensors)
        if found is None:
            continue
        network, state = found
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise ForeignError(f"this is almost a {type(network).__name__}, but: {reason}") from error
        return network.eval()
    raise ForeignError(
        "no known layout: neither SRVGGNetCompact (body.0.weight, ...) nor MSRResNet (conv_first, body.0.conv1, "
        "upconv1, ...) nor an SRResNet (conv1.0, trunk.0.rcb.0, ... or block1.0, block2.conv1, ...) for RGB at x2 or "
        f"x4; the tensors are: {_some(list(tensors))}"
    )


def _some(names: Sequence[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _count(tensors: Mapping[str, Tensor], pattern: str) -> int:
    """How many different numbers stand where ``pattern`` has its group."""
    return len({match[1] for name in tensors if (match := re.match(pattern, name))})


def _compact(tensors: Mapping[str, Tensor]) -> tuple[nn.Module, dict[str, Tensor]] | None:
    if not all(re.fullmatch(r"body\.\d+\.(weight|bias)", name) for name in tensors):
        return None
    weights = {int(name.split(".")[1]): value for name, value in tensors.items() if name.endswith("weight")}
    convolutions = sorted(index for index, value in weights.items() if value.ndim == 4)
    if convolutions != list(range(0, 2 * len(convolutions), 2)) or len(convolutions) < 2:
        return None
    scale = _scale_of(weights[convolutions[-1]].shape[0], 3)
    if scale is None or weights[0].shape[1] != 3:
        return None
    prelu = any(value.ndim == 1 for value in weights.values())
    network = SRVGGNetCompact(scale, len(convolutions), int(weights[0].shape[0]), prelu=prelu)
    return network, dict(tensors)


def _msrresnet(tensors: Mapping[str, Tensor]) -> tuple[nn.Module, dict[str, Tensor]] | None:
    if not {"conv_first.weight", "upconv1.weight", "conv_hr.weight", "conv_last.weight"} <= set(tensors):
        return None
    filters, channels = tensors["conv_first.weight"].shape[:2]
    step = _scale_of(tensors["upconv1.weight"].shape[0], filters)
    if step is None or channels != 3:
        return None
    scale = 4 if "upconv2.weight" in tensors else step
    return MSRResNet(scale, _count(tensors, r"body\.(\d+)\."), filters), dict(tensors)


def _trunk(tensors: Mapping[str, Tensor]) -> tuple[nn.Module, dict[str, Tensor]] | None:
    blocks = _count(tensors, r"trunk\.(\d+)\.rcb\.0\.weight")
    names = {
        r"conv(?:_block)?1\.0\.": "head.",
        r"conv(?:_block)?1\.1\.": "prelu.",
        r"trunk\.(\d+)\.rcb\.0\.": r"body.\1.conv1.",
        r"trunk\.(\d+)\.rcb\.1\.": r"body.\1.bn1.",
        r"trunk\.(\d+)\.rcb\.2\.": r"body.\1.prelu.",
        r"trunk\.(\d+)\.rcb\.3\.": r"body.\1.conv2.",
        r"trunk\.(\d+)\.rcb\.4\.": r"body.\1.bn2.",
        r"conv(?:_block)?2\.0\.": "merge.",
        r"conv(?:_block)?2\.1\.": "norm.",
        r"upsampling\.(\d+)\.upsample_block\.0\.": r"enlarge.\1.conv.",
        r"upsampling\.(\d+)\.upsample_block\.2\.": r"enlarge.\1.prelu.",
        r"conv(?:_block)?3\.(?=weight|bias)": "tail.",
    }
    return _ledig(tensors, names, blocks, tanh=False)


def _blocks(tensors: Mapping[str, Tensor]) -> tuple[nn.Module, dict[str, Tensor]] | None:
    blocks = _count(tensors, r"block(\d+)\.conv1\.weight")
    if not blocks:
        return None
    merge, tail = blocks + 2, blocks + 3
    names = {r"block1\.0\.": "head.", r"block1\.1\.": "prelu."}
    names |= {rf"block{number + 2}\.": f"body.{number}." for number in range(blocks)}
    names |= {
        rf"block{merge}\.0\.": "merge.",
        rf"block{merge}\.1\.": "norm.",
        rf"block{tail}\.(\d+)\.(conv|prelu)\.": r"enlarge.\1.\2.",
        rf"block{tail}\.\d+\.(?=weight|bias)": "tail.",
    }
    return _ledig(tensors, names, blocks, tanh=True)


def _ledig(
    tensors: Mapping[str, Tensor], names: Mapping[str, str], blocks: int, *, tanh: bool
) -> tuple[nn.Module, dict[str, Tensor]] | None:
    """``names``: beginnings of their names (patterns) -> beginnings of ours."""
    state: dict[str, Tensor] = {}
    for name, value in tensors.items():
        for theirs, ours in names.items():
            if re.match(theirs, name):
                state[re.sub(f"^{theirs}", ours, name)] = value
                break
        else:
            return None
    scale = {1: 2, 2: 4}.get(_count(state, r"enlarge\.(\d+)\.conv\.weight"))
    head = state.get("head.weight")
    if not blocks or scale is None or head is None or tuple(head.shape[1:]) != (3, 9, 9):
        return None
    bias = "body.0.conv1.bias" in state
    return LedigSRResNet(scale, blocks, int(head.shape[0]), bias=bias, tanh=tanh), state


def _scale_of(made: int, channels: int) -> int | None:
    """The factor of a sub-pixel shuffle that turns ``made`` channels into ``channels``: 2 or 4, else None."""
    return next((scale for scale in (2, 4) if made == channels * scale * scale), None)
