"""Content and adversarial losses: their sizes, their gradients, and the balance of the two."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from tests.shared_data import BENCHMARKS, SHARED, needs_benchmarks
from tests.unit.training.test_loop import scene
from training.evaluation.datasets import benchmark_pairs
from training.losses import vgg
from training.losses.adversarial import discriminator_accuracy, discriminator_loss, generator_loss
from training.losses.content import FeatureLoss, PixelLoss, content_loss
from training.losses.vgg import VggFeatures, find_vgg_weights, layers_of
from training.resize import matlab_resize, shrink
from training.weights import WeightsError

VGG16 = SHARED / "weights" / "vgg16_features_fp16.safetensors"
needs_vgg = pytest.mark.skipif(not VGG16.is_file(), reason="../shared/weights is not at hand")


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The only folder where weights are looked for, empty: what this machine has decides nothing. Seeds torch, too."""
    torch.manual_seed(0)
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setattr("training.weights.weight_folders", lambda: [tmp_path / "empty", folder])
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return folder


def narrow(kind: str, width: int = 4) -> dict[str, Tensor]:
    """Weights of VGG16 or VGG19 with ``width`` channels, and a classifier layer as torchvision's files have."""
    random = torch.Generator().manual_seed(1)
    weights, channels = {"classifier.0.weight": torch.zeros(2, 2)}, 3
    for position in layers_of(kind).values():
        weights[f"features.{position}.weight"] = torch.randn(width, channels, 3, 3, generator=random) / math.sqrt(width)
        weights[f"features.{position}.bias"] = 0.1 * torch.randn(width, generator=random)
        channels = width
    return weights


def near_and_real(count: int = 8, edge: int = 96) -> tuple[Tensor, Tensor]:
    """Patches as a generator may give them (bicubic x4) and the real ones, (N, 3, edge, edge) in [0, 1]."""
    real = [scene(seed, edge) for seed in range(count)]
    near = [matlab_resize(shrink(image, 4), 4.0) for image in real]
    return batch(near), batch(real)


def batch(images: list[np.ndarray]) -> Tensor:
    return torch.tensor(np.stack(images)).permute(0, 3, 1, 2).float() / 255.0


def gradient(value: Tensor, at: Tensor) -> Tensor:
    return torch.autograd.grad(value, at)[0]


# -- pixels


@pytest.mark.parametrize(
    ("kind", "scale", "expected"),
    [("mse", "8bit", 51.0**2), ("l1", "8bit", 51.0), ("mse", "paper", 0.4**2), ("l1", "paper", 0.4)],
)
def test_pixel_losses_are_in_the_units_of_their_scale(kind: str, scale: str, expected: float) -> None:
    hr = torch.full((2, 3, 5, 7), 0.3)
    loss = content_loss(kind, scale=scale)(hr + 0.2, hr)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    half = content_loss(kind, scale=scale)((hr + 0.2).bfloat16(), hr)
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(expected, rel=0.02)


def test_a_share_of_a_pixel_loss_is_the_error_of_luma() -> None:
    hr = torch.full((2, 3, 5, 7), 0.3)
    green = hr + torch.tensor([0.0, 0.1, 0.0]).reshape(1, 3, 1, 1)
    rgb, luma = 25.5 / 3, 25.5 * 128.553 / 219
    loss = content_loss("l1", luma_share=0.75)
    assert loss(green, hr).item() == pytest.approx(0.25 * rgb + 0.75 * luma, rel=1e-5)
    assert "75% of it on luma" in loss.description
    squares = content_loss("mse", luma_share=0.75)(green, hr)
    assert squares.item() == pytest.approx(0.25 * 25.5 * rgb + 0.75 * luma**2, rel=1e-5)
    grey = hr + 0.1
    assert loss(grey, hr).item() == pytest.approx(25.5, rel=1e-5), "an error of grey is as large as without"


def test_what_does_not_exist_is_said() -> None:
    with pytest.raises(ValueError, match="mse, l1, vgg"):
        content_loss("l2")
    with pytest.raises(ValueError, match="8bit, paper"):
        content_loss("mse", scale="16bit")
    with pytest.raises(ValueError, match="conv3_3"):
        content_loss("l1", layer="conv3_3")


# -- VGG


@pytest.mark.parametrize(("kind", "last"), [("VGG19", "conv5_4"), ("VGG16", "conv5_3")])
def test_layers_are_where_torchvision_has_them(kind: str, last: str) -> None:
    depths = {"VGG19": [64, 64, "M", 128, 128, "M", *[256] * 4, "M", *[512] * 4, "M", *[512] * 4, "M"],
              "VGG16": [64, 64, "M", 128, 128, "M", *[256] * 3, "M", *[512] * 3, "M", *[512] * 3, "M"]}  # fmt: skip
    position, expected = 0, []
    for entry in depths[kind]:  # torchvision's make_layers: M is one module, a number two
        if entry != "M":
            expected.append(position)
        position += 1 if entry == "M" else 2
    assert list(layers_of(kind).values()) == expected
    features = VggFeatures(narrow(kind))
    assert (features.kind, features.layer, features.smallest) == (kind, last, 16)


@pytest.mark.parametrize("kind", ["VGG19", "VGG16"])
@pytest.mark.parametrize(("layer", "until", "poolings"), [("conv1_2", 4, 0), ("relu3_3", 16, 2)])
def test_features_are_those_of_the_layers_as_torchvision_stacks_them(
    kind: str, layer: str, until: int, poolings: int
) -> None:
    weights = narrow(kind)
    image = torch.rand(2, 3, 20, 12)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = (image - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    for position in range(until):
        if f"features.{position}.weight" in weights:
            expected = F.conv2d(
                expected, weights[f"features.{position}.weight"], weights[f"features.{position}.bias"], padding=1
            )
        elif position in (4, 9):
            expected = F.max_pool2d(expected, 2, 2)
        else:
            expected = torch.relu(expected)
    features = VggFeatures(weights, layer)
    torch.testing.assert_close(features(image), expected, rtol=1e-4, atol=1e-4 * expected.max().item())
    assert features.smallest == 2**poolings
    assert expected.min() == 0.0, "after the activation"


def test_nothing_is_trained_or_saved_and_only_the_result_gets_a_gradient() -> None:
    loss = FeatureLoss(VggFeatures(narrow("VGG19"), "conv2_2"), "8bit")
    assert list(loss.parameters()) == []
    assert loss.state_dict() == {}
    sr, hr = (torch.rand(1, 3, 16, 16, requires_grad=True) for _ in range(2))
    loss(sr, hr).backward()
    assert sr.grad is not None
    assert sr.grad.abs().max() > 0
    assert hr.grad is None
    assert all(not tensor.requires_grad and tensor.grad is None for tensor in loss.buffers())


def test_8bit_features_are_those_of_a_vgg_that_sees_0_to_255() -> None:
    """Caffe's VGG, which the original used: pixels 0..255 less the mean, no division, the same network else."""
    weights = {name: tensor * (0 if name.endswith("bias") else 1) for name, tensor in narrow("VGG19").items()}
    sr, hr = torch.rand(2, 2, 3, 32, 32)
    ours = FeatureLoss(VggFeatures(weights, "conv2_2"), "8bit")(sr, hr)
    seen = VggFeatures(weights, "conv2_2")
    seen.std.fill_(1 / 255)
    expected = F.mse_loss(seen(sr), seen(hr))
    assert ours.item() == pytest.approx(expected.item(), rel=0.03)  # the three std differ by 2 %
    paper = FeatureLoss(VggFeatures(weights, "conv2_2"), "paper")(sr, hr)
    assert paper.item() == pytest.approx(ours.item() / (57.6 * 12.75) ** 2, rel=0.002)


def test_autocast_does_not_reach_the_features() -> None:
    loss = FeatureLoss(VggFeatures(narrow("VGG16"), "conv3_3"), "8bit")
    hr = torch.rand(1, 3, 16, 16)
    sr = hr + 0.01 * torch.randn(1, 3, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(sr, hr)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(loss(sr, hr).item(), rel=1e-6)


def test_an_unknown_layer_lists_what_there_is() -> None:
    for name in ("conv5_4", "relu6_1", "fc7"):
        with pytest.raises(ValueError, match=r"VGG16 has no layer .*conv1_1, .*conv5_3$"):
            VggFeatures(narrow("VGG16"), name)
    assert VggFeatures(narrow("VGG19"), "relu5_4").layer == "conv5_4"


def test_a_patch_that_the_poolings_swallow_is_refused() -> None:
    loss = FeatureLoss(VggFeatures(narrow("VGG19")), "8bit")
    assert loss.smallest == 16
    with pytest.raises(ValueError, match="16 x 16 px or more, not 15 x 40"):
        loss(torch.rand(1, 3, 40, 15), torch.rand(1, 3, 40, 15))


# -- the file


@pytest.mark.parametrize("form", ["old .pth", "new .pth", "float16 .safetensors"])
def test_files_as_they_are_published(nowhere: Path, form: str) -> None:
    weights = narrow("VGG19")
    path = nowhere / f"any{form.split()[1]}"
    if form == "float16 .safetensors":
        save_file({name: tensor.half() for name, tensor in weights.items()}, path)
    else:
        torch.save(weights, path, _use_new_zipfile_serialization=form.startswith("new"))
    image = torch.rand(1, 3, 16, 16)
    loaded = VggFeatures.load(path)
    torch.testing.assert_close(loaded(image), VggFeatures(weights)(image), rtol=0.02, atol=0.02)
    assert loaded(image).dtype == torch.float32


def test_files_that_are_not_vgg(nowhere: Path) -> None:
    (nowhere / "torn.pth").write_bytes(b"torn")
    (nowhere / "torn.safetensors").write_bytes(b"torn")
    torch.save({"features.0.weight": torch.zeros(64, 3, 11, 11)}, nowhere / "alexnet.pth")
    torch.save(torch.zeros(3), nowhere / "tensor.pth")
    for name in ("torn.pth", "torn.safetensors", "alexnet.pth", "tensor.pth", "missing.pth"):
        with pytest.raises(WeightsError, match=name):
            content_loss("vgg", weights=nowhere / name)


def test_vgg19_is_taken_before_vgg16_and_a_given_file_before_both(nowhere: Path, tmp_path: Path) -> None:
    assert find_vgg_weights() is None
    (nowhere / "vgg16_features_fp16.safetensors").touch()
    assert find_vgg_weights() == nowhere / "vgg16_features_fp16.safetensors"
    (nowhere / "vgg19-dcbb9e9d.pth").touch()
    assert find_vgg_weights() == nowhere / "vgg19-dcbb9e9d.pth"
    given = tmp_path / "mine.pth"
    given.touch()
    assert find_vgg_weights(given) == given


def test_without_weights_pixels_stand_in_and_the_warning_says_what_to_give() -> None:
    said: list[str] = []
    loss = content_loss("vgg", say=said.append)
    assert isinstance(loss, PixelLoss)
    assert len(said) == 1
    assert "--perceptual-weights" in said[0]
    assert "vgg19-dcbb9e9d.pth" in said[0]
    with pytest.raises(ValueError, match="has no layer"):
        content_loss("vgg", layer="conv9_9", say=said.append)
    ones = torch.ones(1, 3, 4, 4)
    # Ledig's proportion of pixels in [-1, 1] to features / 12.75.
    assert loss(ones, ones * 0).item() == pytest.approx((2 * 57.6 * 12.75) ** 2, rel=0.002)
    paper = content_loss("vgg", scale="paper", say=said.append)
    assert paper(ones, ones * 0).item() == pytest.approx(4.0)


def test_the_download_is_checked_and_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    published = tmp_path / "published.pth"
    torch.save(narrow("VGG19"), published)
    monkeypatch.setattr(vgg, "DOWNLOAD_URL", published.as_uri())
    kept = tmp_path / "hub" / "checkpoints" / "vgg19-dcbb9e9d.pth"
    with pytest.raises(WeightsError, match="invalid hash"):
        find_vgg_weights(Path("download"))
    assert not kept.exists()
    digest = hashlib.sha256(published.read_bytes()).hexdigest()
    monkeypatch.setattr(vgg, "DOWNLOAD_SHA256_PREFIX", digest[:8])
    loss = content_loss("vgg", weights=Path("download"))
    assert isinstance(loss, FeatureLoss)
    assert kept.read_bytes() == published.read_bytes()
    published.unlink()
    assert find_vgg_weights(Path("download")) == kept
    kept.unlink()
    with pytest.raises(WeightsError, match="could not be fetched"):
        find_vgg_weights(Path("download"))


# -- adversarial


REAL, FAKE = torch.tensor([[1.5], [-0.25], [0.75]]), torch.tensor([[-1.0], [0.5], [-2.0]])


def test_vanilla_is_goodfellows() -> None:
    real, fake = torch.sigmoid(REAL), torch.sigmoid(FAKE)
    assert generator_loss("vanilla", FAKE).item() == pytest.approx(-fake.log().mean().item(), rel=1e-5)
    expected = -(real.log().mean() + (1 - fake).log().mean())
    assert discriminator_loss("vanilla", REAL, FAKE).item() == pytest.approx(expected.item(), rel=1e-5)


def test_relativistic_is_jolicoeur_martineaus() -> None:
    real, fake = torch.sigmoid(REAL - FAKE.mean()), torch.sigmoid(FAKE - REAL.mean())
    expected = -(real.log().mean() + (1 - fake).log().mean())
    assert discriminator_loss("relativistic", REAL, FAKE).item() == pytest.approx(expected.item(), rel=1e-5)
    expected = -(fake.log().mean() + (1 - real).log().mean())
    assert generator_loss("relativistic", FAKE, REAL).item() == pytest.approx(expected.item(), rel=1e-5)
    # It compares, so what moves both changes nothing.
    moved = discriminator_loss("relativistic", REAL + 7, FAKE + 7)
    assert moved.item() == pytest.approx(discriminator_loss("relativistic", REAL, FAKE).item(), rel=1e-5)
    with pytest.raises(ValueError, match="none are given"):
        generator_loss("relativistic", FAKE)


@pytest.mark.parametrize("kind", ["vanilla", "relativistic"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_losses_stay_finite_and_keep_a_gradient_where_a_sigmoid_is_0_or_1(kind: str, dtype: torch.dtype) -> None:
    real = torch.tensor([[900.0], [800.0]], dtype=dtype, requires_grad=True)
    fake = torch.tensor([[-900.0], [-800.0]], dtype=dtype, requires_grad=True)
    lost = generator_loss(kind, fake, real)
    assert math.isfinite(lost.item())
    assert lost.item() > 800
    slope = gradient(lost, fake)
    assert torch.isfinite(slope).all()
    assert (slope < 0).all(), "the generator is pulled towards real however sure the discriminator is"
    won = discriminator_loss(kind, real, fake)
    assert won.dtype == torch.float32
    assert won.item() == pytest.approx(0.0, abs=1e-6)
    wrong = discriminator_loss(kind, fake, real)
    assert math.isfinite(wrong.item())
    assert (gradient(wrong, real) != 0).all()


@pytest.mark.parametrize("kind", ["vanilla", "relativistic"])
def test_accuracy_counts_both_kinds(kind: str) -> None:
    sure = torch.tensor([[5.0], [4.0]])
    assert discriminator_accuracy(kind, sure, -sure).item() == 1.0
    assert discriminator_accuracy(kind, -sure, sure).item() == 0.0
    undecided = torch.zeros(2, 1)
    assert discriminator_accuracy(kind, undecided, undecided).item() == 0.0
    assert discriminator_accuracy("vanilla", sure, torch.tensor([[-1.0], [1.0]])).item() == 0.75


def test_unknown_adversarial_losses_are_refused() -> None:
    for call in (generator_loss, discriminator_loss, discriminator_accuracy):
        with pytest.raises(ValueError, match="vanilla, relativistic"):
            call("wasserstein", REAL, FAKE)


# -- the balance of the two


def adversarial_gradient(near: Tensor) -> Tensor:
    """Of 500 x the vanilla loss at the generator's output, SRGAN's discriminator as it starts."""
    from training.networks.discriminator import Discriminator

    torch.manual_seed(3)
    discriminator = Discriminator(filters=32, patch_size=96).train()
    near = near.clone().requires_grad_(True)
    return gradient(500.0 * generator_loss("vanilla", discriminator(near)), near)


def test_the_defaults_balance_where_pixels_stand_in_for_vgg() -> None:
    near, real = near_and_real()
    at = near.clone().requires_grad_(True)
    content = gradient(content_loss("vgg", say=lambda _: None)(at, real), at)
    share = (adversarial_gradient(near).norm() / content.norm()).item()
    assert 0.01 < share < 1.0


@needs_vgg
@needs_benchmarks
def test_the_defaults_balance_on_vgg_features() -> None:
    pairs = benchmark_pairs(BENCHMARKS / "Set5", 4)
    near = batch([matlab_resize(small, 4.0)[60:156, 60:156] for small, _ in pairs])
    real = batch([large[60:156, 60:156] for _, large in pairs])
    at = near.clone().requires_grad_(True)
    content = gradient(content_loss("vgg", weights=VGG16)(at, real), at)
    share = (adversarial_gradient(near).norm() / content.norm()).item()
    assert 0.01 < share < 1.0


@needs_vgg
def test_the_shared_vgg16_is_the_trained_one() -> None:
    """Trained features see blur more than an equally large change of brightness."""
    features = VggFeatures.load(VGG16, "conv3_3")
    assert features.kind == "VGG16"
    near, real = near_and_real(2, 64)
    darker = real - (near - real).square().mean().sqrt()
    loss = FeatureLoss(features, "8bit")
    assert loss(near, real) > 2 * loss(darker, real)
