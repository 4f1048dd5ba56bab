"""Muon's step is what its papers say, the rest has Adam, and runs of before there was a choice go on."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from training.distributed import Workers
from training.game import Game, Losses
from training.hardware import Hardware
from training.optimizers import LIKE_ADAM, Muon, Name, optimizers, orthogonal


def matrix(rows: int, columns: int, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A matrix with these singular values, and its left and right singular vectors."""
    torch.manual_seed(rows)
    left = torch.linalg.qr(torch.randn(rows, len(values)))[0]
    right = torch.linalg.qr(torch.randn(columns, len(values)))[0]
    return (left * values) @ right.T, left, right


@pytest.mark.parametrize(("rows", "columns"), [(48, 432), (64, 16), (16, 16)])
def test_every_direction_becomes_about_equally_long(rows: int, columns: int) -> None:
    values = torch.logspace(0, -1.3, min(rows, columns))
    gradient, left, right = matrix(rows, columns, values)
    (step,) = orthogonal(torch.stack([1e-4 * gradient]))  # its own length does not count
    along = left.T @ step @ right
    lengths = along.diagonal()
    assert lengths.min() > 0.65
    assert lengths.max() < 1.25
    assert (along - lengths.diag()).abs().max() < 1e-3  # the directions stay


def test_no_gradient_is_no_step() -> None:
    assert torch.equal(orthogonal(torch.zeros(2, 16, 144)), torch.zeros(2, 16, 144))


def test_a_step_is_as_long_as_the_rate_says_whatever_the_kernel() -> None:
    for shape in ((16, 16, 3, 3), (48, 24, 3, 3), (64, 32, 1, 1)):
        torch.manual_seed(1)
        kernel = nn.Parameter(torch.zeros(shape))
        kernel.grad = torch.randn(shape)
        optimizer = Muon([kernel])
        optimizer.param_groups[0]["lr"] = 1e-3
        optimizer.step()
        rms = kernel.detach().square().mean().sqrt().item() / (LIKE_ADAM * 1e-3)
        assert 0.7 < rms < 1.2, f"{shape}: {rms}"


def test_kernels_of_one_shape_move_as_each_would_alone() -> None:
    def moved(*, at_once: bool) -> list[Tensor]:
        torch.manual_seed(2)
        kernels = [nn.Parameter(torch.randn(16, 16, 3, 3)) for _ in range(3)]
        gradients = [torch.randn(2, 16, 16, 3, 3) for _ in range(3)]
        for group in [kernels] if at_once else [[kernel] for kernel in kernels]:
            optimizer = Muon(group)
            optimizer.param_groups[0]["lr"] = 1e-2
            for step in range(2):
                for kernel, gradient in zip(kernels, gradients, strict=True):
                    kernel.grad = gradient[step].clone()
                optimizer.step()
        return kernels

    for together, alone in zip(moved(at_once=True), moved(at_once=False), strict=True):
        torch.testing.assert_close(together, alone)


def small_network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.PReLU(16), nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 12, 3, padding=1),
        nn.PixelShuffle(2),
    )  # fmt: skip


def test_only_kernels_between_features_are_made_orthogonal() -> None:
    network = small_network()
    muon, rest = optimizers("muon", network)
    assert isinstance(muon, Muon)
    assert isinstance(rest, torch.optim.Adam)
    assert [id(weight) for group in muon.param_groups for weight in group["params"]] == [id(network[2].weight)]
    assert sum(len(group["params"]) for group in rest.param_groups) == len(list(network.parameters())) - 1


@pytest.mark.parametrize("name", ["adam", "muon"])
def test_kernels_between_features_decay_and_nothing_else_does(name: Name) -> None:
    network = small_network()
    before = [weight.detach().clone() for weight in network.parameters()]
    for weight in network.parameters():
        weight.grad = torch.zeros_like(weight)
    for optimizer in optimizers(name, network, decay=0.5):
        optimizer.param_groups[0]["lr"] = 0.1
        optimizer.step()
    for key, weight, old in zip(network.state_dict(), network.parameters(), before, strict=True):
        torch.testing.assert_close(weight.detach(), old * (1 - 0.1 * 0.5) if key == "2.weight" else old)


def test_a_network_without_such_kernels_has_adam_alone() -> None:
    (only,) = optimizers("muon", nn.Conv2d(3, 12, 3), decay=0.1)
    assert isinstance(only, torch.optim.Adam)


def test_directions_that_hardly_show_in_the_gradient_are_learned_sooner() -> None:
    """Least squares whose inputs have a hundredfold range of contrast: what is faint in them Adam leaves for later."""
    torch.manual_seed(4)
    turn = torch.linalg.qr(torch.randn(32, 32))[0]
    inputs = (torch.randn(512, 32) * torch.logspace(0, -2, 32)) @ turn
    wanted = torch.randn(32, 32) / 32**0.5

    def error(name: str) -> float:
        layer = nn.Conv2d(32, 32, 1, bias=False)
        nn.init.zeros_(layer.weight)
        (optimizer,) = optimizers(name, layer)  # type: ignore[arg-type]
        for step in range(200):
            optimizer.param_groups[0]["lr"] = 0.03 * (1 - step / 200)
            optimizer.zero_grad()
            (layer(inputs[:, :, None, None])[:, :, 0, 0] - inputs @ wanted.T).square().mean().backward()
            optimizer.step()
        return (layer.weight[:, :, 0, 0] - wanted).square().mean().item()

    assert error("muon") < 0.5 * error("adam")


def test_a_checkpoint_of_before_there_was_a_choice_is_taken_up() -> None:
    def game() -> Game:
        losses = Losses(nn.L1Loss(), nn.L1Loss())
        return Game(
            small_network(),
            None,
            losses,
            hardware=Hardware(torch.device("cpu"), bf16=False, compile=False),
            workers=Workers(),
        )

    state = game().state()
    (alone,) = state["optimiser"]
    game().load(state | {"optimiser": alone})
