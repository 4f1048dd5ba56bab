"""What every network owes the rest of the project; a new network is one line in ``TINY``."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model_export.measure import activation_bytes_per_pixel
from model_export.serving import for_bytes, to_onnx, write_onnx
from training.checkpoint import take_matching
from training.evaluation.restore import torch_restorer
from training.networks import NETWORKS, build, describe_networks
from training.networks.bicubic import Bicubic
from training.networks.dilated import Dilated
from training.networks.discriminator import Discriminator
from training.networks.drcn import DRCN
from training.networks.espcn import ESPCN
from training.networks.fast import Fast
from training.networks.luma import Luma
from training.networks.span import SPAN, WideConvolution
from training.networks.srresnet import LastStep, SRResNet, before_shuffle
from training.resize import matlab_resize

TINY: list[tuple[str, dict[str, Any]]] = [
    ("bicubic", {}),
    ("dilated", {"layers": 5, "filters": 8}),
    ("drcn", {"filters": 8, "recursions": 3}),
    ("espcn", {"filters": [8, 6]}),
    ("fast", {"layers": 4, "filters": 8}),
    ("span", {"filters": 8, "blocks": 2}),
    ("srcnn", {"filters": [8, 6]}),
    ("srresnet", {"filters": 8, "blocks": 2}),
    ("srresnet", {"filters": [8, 6, 10], "blocks": 3, "batch_norm": True}),
    ("vdsr", {"filters": 8, "layers": 5}),
]
every_network = pytest.mark.parametrize(
    ("name", "options"), TINY, ids=lambda value: value if isinstance(value, str) else ""
)


def trained(name: str, options: dict[str, Any], scale: int) -> nn.Module:
    """A network whose every parameter and running statistic is away from its start, as after training."""
    torch.manual_seed(3)
    network = build(name, scale=scale, **options)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.normal_(std=0.3)
                layer.running_var.uniform_(0.5, 2.0)
    return network.eval()


def test_every_network_is_in_the_table() -> None:
    assert {name for name, _ in TINY} == set(NETWORKS)


@every_network
@pytest.mark.parametrize("scale", [2, 4])
def test_shape_and_served_form(name: str, options: dict[str, Any], scale: int) -> None:
    network = trained(name, options, scale)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    served = network.for_serving()
    assert not served.training
    for shape in ((1, 1), (2, 3), (7, 11), (16, 5)):
        image = torch.rand(2, 3, *shape)
        with torch.no_grad():
            enlarged = network(image)
            torch.testing.assert_close(served(image), enlarged, rtol=1e-5, atol=1e-4 if name == "span" else 1e-5)
        assert enlarged.shape == (2, 3, scale * shape[0], scale * shape[1])
    # A copy: nothing done to it reaches the network.
    with torch.no_grad():
        for tensor in (*served.parameters(), *served.buffers()):
            tensor.zero_()
    for key, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[key]), key
    assert not any(isinstance(layer, nn.BatchNorm2d | WideConvolution | LastStep) for layer in served.modules())


@every_network
def test_options_rebuild_the_network(name: str, options: dict[str, Any]) -> None:
    network = trained(name, options, 2)
    assert network.scale == 2
    again = build(name, **json.loads(json.dumps(network.options))).eval()
    again.load_state_dict(network.state_dict())
    assert again.options == network.options
    image = torch.rand(1, 3, 6, 5)
    with torch.no_grad():
        assert torch.equal(again(image), network(image))


@every_network
@pytest.mark.parametrize("scale", [2, 4])
def test_receptive_field(name: str, options: dict[str, Any], scale: int) -> None:
    """In input pixels, as tiles are cut: how far from its own input pixel does a block of output pixels look?"""
    network = trained(name, options, scale).double()
    with torch.no_grad():
        for parameter in network.parameters():  # positive everywhere: nothing cancels, nothing is cut off by a ReLU
            parameter.copy_(torch.rand_like(parameter) / parameter[0].numel() + 0.01)
    centre = math.ceil(network.receptive_field_radius) + 2
    image = torch.rand(1, 3, 2 * centre + 1, 2 * centre + 1, dtype=torch.double, requires_grad=True)
    block = network(image)[:, :, centre * scale : (centre + 1) * scale, centre * scale : (centre + 1) * scale]
    (block * torch.rand_like(block)).sum().backward()
    seen = image.grad.abs().sum(dim=(0, 1)).nonzero() - centre
    reach = int(seen.abs().max())
    assert network.receptive_field_radius - 1 < reach <= math.ceil(network.receptive_field_radius)


@every_network
def test_it_learns_and_every_parameter_takes_part(name: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network = build(name, scale=2, **options).train()
    parameters = dict(network.named_parameters())
    if name == "bicubic":
        assert not parameters
        return
    large = stripes(4, 24)
    small = F.avg_pool2d(large, 2)
    optimiser = torch.optim.Adam(network.parameters(), lr=5e-3)
    losses = []
    for _ in range(30):
        loss = F.l1_loss(network(small), large)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    for key, parameter in parameters.items():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().max() > 0, key
    assert min(losses[-5:]) < 0.75 * losses[0]


@every_network
def test_autocast_leaves_the_picture_its_eight_bits(name: str, options: dict[str, Any]) -> None:
    """bf16 alone is up to 1 level off everywhere; a network that starts from a skip must not round the skip."""
    torch.manual_seed(0)
    network = build(name, scale=2, **options).eval()
    image = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        exact = network(image)
        with torch.autocast("cpu", torch.bfloat16):
            half = network(image)
    if name in ("bicubic", "dilated", "drcn", "fast", "span", "vdsr"):  # at the start these are their skip
        torch.testing.assert_close(half.float(), exact, rtol=0, atol=1e-5)
    else:
        torch.testing.assert_close(half.float(), exact, rtol=0.03, atol=0.03)


@pytest.mark.parametrize(
    ("name", "options"), dict(TINY).items(), ids=dict(TINY)
)  # the last of each name: it takes seconds
def test_export(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    import onnx
    import onnxruntime

    network = trained(name, options, 4).for_serving()
    write_onnx(for_bytes(to_onnx(network)), tmp_path / "x4.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "x4.onnx", providers=["CPUExecutionProvider"])
    for shape in ((1, 1, 1, 3), (2, 9, 14, 3)):
        image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        expected = np.stack([torch_restorer(network)(each) for each in image]).astype(int)
        assert np.abs(session.run(None, {"image": image})[0] - expected).max() <= 1
    used = {node.op_type for node in onnx.load(tmp_path / "x4.onnx").graph.node}
    assert "BatchNormalization" not in used
    if name == "srresnet":
        assert used >= {"Conv", "PRelu", "DepthToSpace"}
        assert not used & {"Gather", "Slice", "SpaceToDepth", "Tile", "Expand"}


def stripes(count: int, edge: int) -> Tensor:
    """(count, 3, edge, edge) grey, of slanted stripes with steep sides."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:edge, :edge]
    made = []
    for _ in range(count):
        angle, period = random.uniform(0, np.pi), random.uniform(6, 12)
        wave = 2 * np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period)
        made.append(np.clip(0.5 + wave, 0, 1) * np.ones((3, 1, 1)))
    return torch.from_numpy(np.stack(made)).float()


# --- what is particular to one network -------------------------------------------------------------------------------


@pytest.mark.parametrize(("scale", "blocks", "radius"), [(4, 16, 39.5), (2, 16, 40.0), (4, 4, 15.5), (8, 1, 9.25)])
def test_srresnet_radius(scale: int, blocks: int, radius: float) -> None:
    assert SRResNet(scale, 4, blocks).receptive_field_radius == radius


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (3, 2), (8, 9)])
def test_the_output_layer_before_the_shuffle_is_the_papers_after_it(shape: tuple[int, int]) -> None:
    """Value and gradient, in every pixel of pictures that are all border."""
    torch.manual_seed(0)
    step = LastStep(5).double()
    nn.init.uniform_(step.activation.weight, -0.5, 1.5)
    features = torch.randn(2, 5, *shape, dtype=torch.double, requires_grad=True)

    def paper(features: Tensor) -> Tensor:
        return step.tail(step.activation(F.pixel_shuffle(step.convolution(features), 2)))

    inputs = [features, *step.parameters()]
    ours, theirs = step(features), paper(features)
    torch.testing.assert_close(ours, theirs)
    weight = torch.randn_like(ours)
    for mine, reference in zip(
        torch.autograd.grad((ours * weight).sum(), inputs),
        torch.autograd.grad((theirs * weight).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(mine, reference)
    torch.testing.assert_close(step.for_serving()(features), theirs)


@pytest.mark.parametrize("scale", [2, 4])
def test_fast_is_served_to_the_last_bit_with_less_memory(scale: int, tmp_path: Path) -> None:
    network = trained("fast", {"layers": 3, "filters": 8}, scale)
    image = torch.rand(2, 3, 9, 7)
    with torch.no_grad():
        assert torch.equal(network.for_serving()(image), network(image))
    bytes_per_pixel = []
    for name, form in (("plain", network), ("served", network.for_serving())):
        write_onnx(for_bytes(to_onnx(form)), tmp_path / f"{name}.onnx")
        bytes_per_pixel.append(activation_bytes_per_pixel(tmp_path / f"{name}.onnx"))
    # The repeated colours: three planes of floats at the size of the result.
    assert bytes_per_pixel[0] - bytes_per_pixel[1] >= 3 * 4 * scale**2 - 3 * 4 - 8


@pytest.mark.parametrize(("layers", "dilations"), [(2, [1, 1]), (5, [1, 2, 3, 2, 1]), (8, [1, 2, 3, 4, 4, 3, 2, 1])])
def test_dilated_looks_as_far_as_its_taps_lie_apart(layers: int, dilations: list[int]) -> None:
    network = build("dilated", layers=layers, filters=4)
    assert [layer.dilation[0] for layer in network.body if isinstance(layer, nn.Conv2d)] == dilations
    assert network.receptive_field_radius == sum(dilations)
    assert network.state_dict().keys() == build("fast", layers=layers, filters=4).state_dict().keys()


def test_before_shuffle_puts_each_tap_where_the_design_says() -> None:
    weight = torch.rand(2, 3, 9, 9)
    kernel = before_shuffle(weight).reshape(2, 2, 2, 3, 2, 2, 5, 5)
    for p in (0, 1):
        for o in range(-4, 5):
            tap = kernel[:, p, 0, :, (p + o) % 2, 0, 2 + (p + o) // 2, 2]
            assert torch.equal(tap, weight[:, :, 4 + o, 4])
    assert kernel.count_nonzero() == 4 * weight.numel()


def test_srresnet_with_one_width_per_block_has_1x1_skips_where_they_differ() -> None:
    network = SRResNet(4, [8, 8, 12], 3)
    assert [isinstance(block.skip, nn.Conv2d) for block in network.blocks] == [False, False, True]
    assert network.skip.weight.shape == (12, 8, 1, 1)
    assert isinstance(SRResNet(4, [8, 6, 8], 3).skip, nn.Identity)
    assert network.last.tail.weight.shape == (3, 12, 9, 9)
    with pytest.raises(ValueError, match="3 blocks, not 2"):
        SRResNet(4, [8, 8], 3)
    with pytest.raises(ValueError, match="not 3"):
        SRResNet(3)


def test_srresnet_defaults_are_the_originals() -> None:
    assert SRResNet().options == {"scale": 4, "filters": 64, "blocks": 4, "batch_norm": False}


def test_srresnet_x4_starts_from_all_of_x2() -> None:
    small, large = SRResNet(2, 8, 2), SRResNet(4, 8, 2)
    taken, left = take_matching(large, small.state_dict())
    assert not left
    assert set(large.state_dict()) - set(taken) == {"steps.0.0.weight", "steps.0.0.bias", "steps.0.2.weight"}


@pytest.mark.parametrize("kind", [Dilated, ESPCN, Fast, SPAN])
def test_a_network_starts_with_the_picture_of_its_other_scale(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    small, large = kind(2).eval(), kind(4).eval()
    for parameter in small.parameters():  # tails begin at zero
        parameter.data += 0.02 * torch.randn_like(parameter)
    image = torch.rand(1, 3, 9, 7)
    assert take_matching(large, small.state_dict())[1] == []
    twice, picture = F.interpolate(small(image), scale_factor=2, mode="nearest"), large(image)
    if kind is ESPCN:  # its colours are bicubic at every scale
        twice, picture = Luma()(twice), Luma()(picture)
    torch.testing.assert_close(picture, twice, rtol=0, atol=1e-5)
    again = kind(2).eval()
    take_matching(again, large.state_dict())
    torch.testing.assert_close(again(image), small(image), rtol=0, atol=1e-5)


def test_srresnet_starts_without_a_checkerboard() -> None:
    torch.manual_seed(0)
    step = LastStep(4)
    features = step.convolution(torch.rand(1, 4, 6, 6))
    assert torch.equal(F.pixel_shuffle(features, 2), F.interpolate(features[:, ::4], scale_factor=2, mode="nearest"))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_bicubic_is_the_protocols_enlargement_inside(scale: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (12, 15, 3), np.uint8)
    ours = Bicubic(scale)(torch.from_numpy(image).permute(2, 0, 1)[None] / 255.0)
    ours = (ours.clamp(0, 1) * 255).round()[0].permute(1, 2, 0).numpy()
    theirs = matlab_resize(image, float(scale))
    inside = slice(2 * scale, -2 * scale)
    # MATLAB rounds and clips to 8 bit between rows and columns, too.
    difference = np.abs(ours - theirs.astype(int))[inside, inside]
    assert difference.mean() < 0.5
    assert np.median(difference) == 0
    flat = Bicubic(scale)(torch.full((1, 3, 2, 1), 0.7))
    torch.testing.assert_close(flat, torch.full((1, 3, 2 * scale, scale), 0.7))


@pytest.mark.parametrize("scale", [2, 4])
def test_bicubic_survives_half_precision_unchanged(scale: int) -> None:
    network = Bicubic(scale)
    assert not network.state_dict()
    for taps in (network.rows, network.columns):
        assert torch.equal(taps.half().float(), taps)


@pytest.mark.parametrize("name", ["drcn", "espcn", "srcnn", "vdsr"])
def test_the_papers_luma_networks_leave_chroma_to_bicubic(name: str) -> None:
    network = trained(name, dict(TINY)[name], 2)
    image = torch.rand(1, 3, 6, 7)
    with torch.no_grad():
        change = network(image) - Bicubic(2)(image)
    assert change.abs().max() > 0.01
    torch.testing.assert_close(change, change[:, :1].expand_as(change), rtol=0, atol=1e-5)


def test_luma_is_that_of_the_protocol() -> None:
    pixel = torch.tensor([10.0, 200.0, 60.0]).reshape(1, 3, 1, 1) / 255
    expected = 16 + (65.481 * 10 + 128.553 * 200 + 24.966 * 60) / 255
    assert float(16 + 219 * Luma()(pixel)) == pytest.approx(expected)


def test_drcn_sums_before_the_last_convolution_what_the_paper_sums_after_it() -> None:
    network = trained("drcn", {"filters": 6, "recursions": 4}, 2)
    image = torch.rand(1, 3, 5, 6)
    with torch.no_grad():
        enlarged = network.enlarge(image)
        luma = network.luma(enlarged)
        features, predicted = network.embedding(luma), torch.zeros_like(luma)
        for weight in network.weights:
            features = network.inference(features)
            predicted += weight * (luma + network.last(network.reconstruction(features)))
        torch.testing.assert_close(network(image), enlarged + predicted - luma)


def test_a_wide_convolution_equals_its_branches_and_its_plain_form() -> None:
    torch.manual_seed(0)
    wide = WideConvolution(3, 5).double()
    features = torch.randn(1, 3, 4, 6, dtype=torch.double)
    branches = wide.narrow(wide.spatial(wide.widen(F.pad(features, (1, 1, 1, 1))))) + wide.skip(features)
    torch.testing.assert_close(wide(features), branches)
    torch.testing.assert_close(wide.for_serving()(features), branches)


def test_span_has_the_papers_size_when_served() -> None:
    """426,288 parameters at x4; the paper's table says 426 K."""
    assert sum(parameter.numel() for parameter in SPAN(4).for_serving().parameters()) == 426_288


@pytest.mark.parametrize(
    ("name", "filters", "blocks", "expected"),
    [
        ("srresnet", None, None, {}),
        ("srresnet", [32], 16, {"filters": 32, "blocks": 16}),
        ("srresnet", [64, 48, 32], None, {"filters": [64, 48, 32], "blocks": 3}),
        ("fast", [32], 4, {"filters": 32, "layers": 6}),
        ("dilated", [32], 4, {"filters": 32, "layers": 6}),
        ("span", [32], 4, {"filters": 32, "blocks": 4}),
        ("vdsr", [32], 8, {"filters": 32, "layers": 10}),
        ("drcn", [96], 9, {"filters": 96, "recursions": 9}),
        ("srcnn", [32, 16], None, {"filters": [32, 16]}),
        ("espcn", [32], None, {"filters": [32, 32]}),
        ("bicubic", None, None, {}),
    ],
)
def test_the_commands_filters_and_blocks(
    name: str, filters: list[int] | None, blocks: int | None, expected: dict[str, Any]
) -> None:
    options = NETWORKS[name].from_command(2, filters=filters, blocks=blocks)
    assert options == {"scale": 2} | expected
    assert build(name, **options).options.items() >= options.items()


@pytest.mark.parametrize(
    ("name", "filters", "blocks", "says"),
    [
        ("srresnet", [64, 32], 3, "2 widths for 3 residual blocks"),
        ("fast", [64, 32], None, "layers of fast are .* takes one value, not 2"),
        ("dilated", [64, 32], None, "layers of dilated are .* takes one value, not 2"),
        ("span", [64, 32], None, "takes one value, not 2"),
        ("srcnn", [64, 32, 16], None, "one or two values, not 3"),
        ("espcn", None, 4, "--gen-res-blocks: the depth of espcn is fixed"),
        ("bicubic", [64], None, "--gen-filters: bicubic has no filters"),
    ],
)
def test_what_a_network_cannot_follow_is_said(
    name: str, filters: list[int] | None, blocks: int | None, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        NETWORKS[name].from_command(2, filters=filters, blocks=blocks)


def test_the_list_of_networks_counts_right() -> None:
    lines = {line.name: line for line in describe_networks(4)}
    assert set(lines) == set(NETWORKS)
    fast = Fast(4)
    assert lines["fast"].parameters == sum(parameter.numel() for parameter in fast.parameters())
    assert lines["fast"].multiply_adds == sum(
        layer.weight.numel() for layer in fast.body if isinstance(layer, nn.Conv2d)
    )
    # SRCNN's 57,184 weights (Dong 2016, table 2) at each of 16 HR pixels, luma there, bicubic's 300.
    assert lines["srcnn"].multiply_adds == 16 * (57_184 + 3) + 300
    # VDSR and DRCN have the sizes their papers give: 665 K and 1,774 K.
    assert lines["vdsr"].parameters == 665_921
    assert lines["drcn"].parameters == 1_775_121
    for line in lines.values():
        assert line.summary
        assert line.paper


def test_discriminator() -> None:
    torch.manual_seed(0)
    network = Discriminator(filters=4, patch_size=32)
    assert network(torch.rand(3, 3, 32, 32)).shape == (3, 1)
    widths = [layer.out_channels for layer in network.features if isinstance(layer, nn.Conv2d)]
    assert widths == [4, 4, 8, 8, 16, 16, 32, 32]
    assert Discriminator().options == {"filters": 32, "patch_size": 96}
    assert network.classifier[1].in_features == 32 * 2 * 2
    with pytest.raises(ValueError, match="32 x 32 HR pixels, not 48 x 48"):
        network(torch.rand(1, 3, 48, 48))
    with pytest.raises(ValueError, match="multiple of 16, not 40"):
        Discriminator(patch_size=40)


def test_the_discriminator_learns_to_tell_sharp_from_blurred_and_every_parameter_takes_part() -> None:
    torch.manual_seed(0)
    network = Discriminator(filters=4, patch_size=32)
    sharp = stripes(8, 32)
    blurred = F.interpolate(F.avg_pool2d(sharp, 4), scale_factor=4, mode="bilinear")
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    labels = torch.cat([torch.ones(8, 1), torch.zeros(8, 1)])
    for _ in range(30):
        logits = network(torch.cat([sharp, blurred]))
        loss = F.binary_cross_entropy_with_logits(logits, labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert all(parameter.grad.abs().max() > 0 for parameter in network.parameters())
    assert ((logits > 0) == (labels > 0.5)).all()
    assert logits.max() > 1, "logits, not probabilities"


def test_drcn_needs_a_recursion() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        DRCN(2, 8, 0)
