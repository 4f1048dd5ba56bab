"""Weights of other projects: each layout as its own project computes it, written here once more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from model_export.foreign import ForeignError, read_tensors, recognise
from model_export.serving import served_form
from model_export.srvgg import to_srvgg
from training.networks.fast import Fast

State = dict[str, Tensor]


def random_state(shapes: dict[str, tuple[int, ...]]) -> State:
    """Small random weights; running variances are positive."""
    generator = torch.Generator().manual_seed(4)
    state = {name: torch.randn(shape, generator=generator) * 0.2 for name, shape in shapes.items()}
    return {name: value.abs() + 0.5 if name.endswith("running_var") else value for name, value in state.items()}


def convolution(name: str, made: int, seen: int, edge: int = 3, *, bias: bool = True) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (made, seen, edge, edge)} | ({f"{name}.bias": (made,)} if bias else {})


def norm(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    each = {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}
    return each | {f"{name}.num_batches_tracked": ()}


def conv(state: State, name: str, image: Tensor) -> Tensor:
    weight = state[f"{name}.weight"]
    return F.conv2d(image, weight, state.get(f"{name}.bias"), padding=weight.shape[-1] // 2)


def normalised(state: State, name: str, image: Tensor) -> Tensor:
    mean, variance = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    return F.batch_norm(image, mean, variance, state[f"{name}.weight"], state[f"{name}.bias"])


# BasicSR's MSRResNet.
def msrresnet_state(scale: int) -> State:
    shapes = convolution("conv_first", 6, 3)
    for block in range(2):
        shapes |= convolution(f"body.{block}.conv1", 6, 6) | convolution(f"body.{block}.conv2", 6, 6)
    shapes |= convolution("upconv1", 24, 6) | (convolution("upconv2", 24, 6) if scale == 4 else {})
    return random_state(shapes | convolution("conv_hr", 6, 6) | convolution("conv_last", 3, 6))


def msrresnet(state: State, image: Tensor, scale: int) -> Tensor:
    out = F.leaky_relu(conv(state, "conv_first", image), 0.1)
    for block in range(2):
        out = out + conv(state, f"body.{block}.conv2", F.relu(conv(state, f"body.{block}.conv1", out)))
    for step in ("upconv1", "upconv2")[: scale // 2]:
        out = F.leaky_relu(F.pixel_shuffle(conv(state, step, out), 2), 0.1)
    out = conv(state, "conv_last", F.leaky_relu(conv(state, "conv_hr", out), 0.1))
    return out + F.interpolate(image, scale_factor=scale, mode="bilinear", align_corners=False)


# SRResNet with conv1 / trunk / conv2 / upsampling / conv3.
def trunk_state(scale: int, prefix: str = "conv") -> State:
    shapes = convolution(f"{prefix}1.0", 6, 3, 9) | {f"{prefix}1.1.weight": (1,)}
    for block in range(2):
        place = f"trunk.{block}.rcb"
        shapes |= convolution(f"{place}.0", 6, 6, bias=False) | norm(f"{place}.1", 6) | {f"{place}.2.weight": (1,)}
        shapes |= convolution(f"{place}.3", 6, 6, bias=False) | norm(f"{place}.4", 6)
    shapes |= convolution(f"{prefix}2.0", 6, 6, bias=False) | norm(f"{prefix}2.1", 6)
    for step in range(scale // 2):
        place = f"upsampling.{step}.upsample_block"
        shapes |= convolution(f"{place}.0", 24, 6) | {f"{place}.2.weight": (1,)}
    return random_state(shapes | convolution(f"{prefix}3", 3, 6, 9))


def trunk(state: State, image: Tensor, scale: int, prefix: str = "conv") -> Tensor:
    first = out = F.prelu(conv(state, f"{prefix}1.0", image), state[f"{prefix}1.1.weight"])
    for block in range(2):
        place = f"trunk.{block}.rcb"
        inner = normalised(state, f"{place}.1", conv(state, f"{place}.0", out))
        inner = conv(state, f"{place}.3", F.prelu(inner, state[f"{place}.2.weight"]))
        out = out + normalised(state, f"{place}.4", inner)
    out = first + normalised(state, f"{prefix}2.1", conv(state, f"{prefix}2.0", out))
    for step in range(scale // 2):
        place = f"upsampling.{step}.upsample_block"
        out = F.prelu(F.pixel_shuffle(conv(state, f"{place}.0", out), 2), state[f"{place}.2.weight"])
    return conv(state, f"{prefix}3", out)


# SRResNet with block1 .. block5 (two residual blocks).
def blocks_state(scale: int) -> State:
    shapes = convolution("block1.0", 6, 3, 9) | {"block1.1.weight": (1,)}
    for block in (2, 3):
        shapes |= convolution(f"block{block}.conv1", 6, 6) | norm(f"block{block}.bn1", 6)
        shapes |= {f"block{block}.prelu.weight": (1,)}
        shapes |= convolution(f"block{block}.conv2", 6, 6) | norm(f"block{block}.bn2", 6)
    shapes |= convolution("block4.0", 6, 6) | norm("block4.1", 6)
    for step in range(scale // 2):
        shapes |= convolution(f"block5.{step}.conv", 24, 6) | {f"block5.{step}.prelu.weight": (1,)}
    return random_state(shapes | convolution(f"block5.{scale // 2}", 3, 6, 9))


def blocks(state: State, image: Tensor, scale: int) -> Tensor:
    first = out = F.prelu(conv(state, "block1.0", image), state["block1.1.weight"])
    for block in ("block2", "block3"):
        inner = F.prelu(
            normalised(state, f"{block}.bn1", conv(state, f"{block}.conv1", out)), state[f"{block}.prelu.weight"]
        )
        out = out + normalised(state, f"{block}.bn2", conv(state, f"{block}.conv2", inner))
    out = first + normalised(state, "block4.1", conv(state, "block4.0", out))
    for step in range(scale // 2):
        out = F.prelu(F.pixel_shuffle(conv(state, f"block5.{step}.conv", out), 2), state[f"block5.{step}.prelu.weight"])
    return (torch.tanh(conv(state, f"block5.{scale // 2}", out)) + 1) / 2


def compact_state(scale: int) -> State:
    shapes = convolution("body.0", 6, 3) | {"body.1.weight": (6,)} | convolution("body.2", 6, 6)
    return random_state(shapes | {"body.3.weight": (6,)} | convolution("body.4", 3 * scale**2, 6))


def compact(state: State, image: Tensor, scale: int) -> Tensor:
    out = image
    for index in range(5):
        name = f"body.{index}"
        out = conv(state, name, out) if index % 2 == 0 else F.prelu(out, state[f"{name}.weight"])
    return F.pixel_shuffle(out, scale) + F.interpolate(image, scale_factor=scale, mode="nearest")


LAYOUTS: dict[str, tuple[Callable[[int], State], Callable[[State, Tensor, int], Tensor]]] = {
    "SRVGGNetCompact": (compact_state, compact),
    "MSRResNet": (msrresnet_state, msrresnet),
    "trunk": (trunk_state, trunk),
    "conv_block": (
        lambda scale: trunk_state(scale, "conv_block"),
        lambda state, image, scale: trunk(state, image, scale, "conv_block"),
    ),
    "blocks": (blocks_state, blocks),
}


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_computes_what_its_project_computes(layout: str, scale: int) -> None:
    made, forward = LAYOUTS[layout]
    state = made(scale)
    image = torch.rand(1, 3, 23, 30, generator=torch.Generator().manual_seed(1))
    network = recognise(state)
    with torch.no_grad():
        torch.testing.assert_close(network(image), forward(state, image, scale), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(served_form(network)(image), network(image), rtol=1e-3, atol=1e-4)
    assert network.scale == scale
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in served_form(network).modules())


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_receptive_field_is_as_told(layout: str, scale: int) -> None:
    network = recognise(LAYOUTS[layout][0](scale))
    image = torch.rand(1, 3, 65, 65, requires_grad=True)
    # All output pixels of input pixel (32, 32): the furthest of them sees the radius, rounded up.
    centre = slice(32 * scale, 33 * scale)
    network(image)[:, :, centre, centre].abs().sum().backward()
    assert image.grad is not None
    seen = image.grad.abs().sum((0, 1)).nonzero()
    reach = (seen - 32).abs().max().item()
    assert network.receptive_field_radius <= reach < network.receptive_field_radius + 1


def test_fast_written_as_srvgg_is_recognised_and_the_same(tmp_path: Path) -> None:
    torch.manual_seed(3)
    fast = Fast(4, 4, 6).eval()
    nn.init.normal_(fast.body[-1].weight, std=0.1)
    torch.save({"params": to_srvgg(fast)}, tmp_path / "fast.pth")
    network = recognise(read_tensors(tmp_path / "fast.pth"))
    image = torch.rand(1, 3, 12, 10)
    torch.testing.assert_close(network(image), fast(image))
    served = served_form(network)
    torch.testing.assert_close(served(image), fast(image))
    assert [type(layer) for layer in served.body[1::2]] == [nn.LeakyReLU] * 3, "equal slopes are one slope"


def test_without_slopes_it_is_leaky_relu_as_in_that_project() -> None:
    state = {name: value for name, value in compact_state(2).items() if value.ndim == 4 or name.endswith("bias")}
    network = recognise(state)
    sloped = state | {f"body.{index}.weight": torch.full((6,), 0.1) for index in (1, 3)}
    image = torch.rand(1, 3, 9, 9)
    torch.testing.assert_close(network(image), compact(sloped, image, 2))


def test_wrappers_prefixes_and_safetensors(tmp_path: Path) -> None:
    state = msrresnet_state(2)
    average = {f"module.{name}": value for name, value in state.items()}
    torch.save({"params": {"other": torch.zeros(1)}, "params_ema": average, "iter": 7}, tmp_path / "a.pth")
    save_file(state, tmp_path / "b.safetensors")
    for name in ("a.pth", "b.safetensors"):
        found = read_tensors(tmp_path / name)
        assert found.keys() == state.keys()
        torch.testing.assert_close(found["conv_hr.weight"], state["conv_hr.weight"])


def test_unknown_layouts_are_refused_with_the_names_seen() -> None:
    names = [f"transformer.{index}.qkv" for index in range(20)]
    with pytest.raises(ForeignError, match=r"transformer\.0\.qkv, .* and 8 more"):
        recognise({name: torch.zeros(3, 3) for name in names})


@pytest.mark.parametrize(
    "change",
    [
        {"upconv1.weight": torch.zeros(54, 6, 3, 3), "upconv1.bias": torch.zeros(54)},
        {"conv_first.weight": torch.zeros(6, 1, 3, 3)},
    ],
    ids=["x3", "grey"],
)
def test_what_the_service_cannot_serve_is_refused(change: State) -> None:
    with pytest.raises(ForeignError, match="for RGB at x2 or x4"):
        recognise(msrresnet_state(2) | change)


def test_an_almost_known_layout_says_what_differs() -> None:
    state = msrresnet_state(2)
    del state["body.1.conv2.bias"]
    with pytest.raises(ForeignError, match=r"almost a MSRResNet.*body\.1\.conv2\.bias"):
        recognise(state)


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path, ("x",)


@pytest.mark.parametrize("content", ["pickle", "junk", "nothing", "list", "empty"])
def test_files_that_are_no_weights_are_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.pth"
    if content == "pickle":
        torch.save({"params": Evil()}, path)
    elif content == "junk":
        path.write_bytes(b"junk")
    elif content == "list":
        torch.save([torch.zeros(1)], path)
    elif content == "empty":
        torch.save({"epoch": 3}, path)
    with pytest.raises(ForeignError, match=r"x\.pth"):
        read_tensors(path)
