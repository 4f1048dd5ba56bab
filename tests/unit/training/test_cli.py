"""Each option of chetko-train reaches the place where it means something."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.unit.training.scenes import write_scenes
from training import cli
from training.cli import main
from training.losses.content import content_loss


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("photos"), range(3))


class SpiedError(Exception):
    """Raised in place of training, with all that train was given."""


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch, photos: Path, tmp_path: Path) -> Any:
    """A function of a command line: what it would have trained with."""

    def spy(game: Any, patches: Any, schedule: Any, folder: Any, **rest: Any) -> None:
        raise SpiedError({
            "generator": game.generator, "discriminator": game.discriminator, "losses": game.losses, "game": game,
            "patches": patches, "schedule": schedule, "folder": folder, **rest,
        })  # fmt: skip

    monkeypatch.setattr(cli, "train", spy)

    def run(line: str) -> dict[str, Any]:
        command = [str(photos), "--runs", str(tmp_path), "--content", "mse", "--platform", "cpu", *line.split()]
        with pytest.raises(SpiedError) as caught:
            main(command)
        found: dict[str, Any] = caught.value.args[0]
        return found

    return run


def of_black_and_white(loss: torch.nn.Module | None) -> float:
    return 0.0 if loss is None else float(loss(torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8)))


# What the option changes, read where it matters; each differs from what the default gives (checked).
REACHES = [
    ("--scale 2", lambda g: g["patches"].scale, 2),
    ("--scale 2", lambda g: g["generator"].scale, 2),
    ("--epochs 3", lambda g: g["schedule"].epochs, 3),
    ("--epoch-size 7", lambda g: g["schedule"].epoch_size, 7),
    ("--batch-size 2", lambda g: len(g["patches"].batch(0).small), 2),
    ("--patch-size 48", lambda g: tuple(g["patches"].batch(0).large.shape[2:]), (48, 48)),
    ("--patches 16", lambda g: len(set(g["patches"].batch(0).pictures)), 1),
    ("--learning-rate 0.5", lambda g: g["schedule"].rate(0.0), 0.5),
    ("--learning-rate-decay 0.1", lambda g: g["schedule"].decay, 0.1),
    ("--learning-rate-epochs 2", lambda g: g["schedule"].rate(0.5), 1e-4 * 0.5**5),
    ("--schedule cosine", lambda g: g["schedule"].rate(0.5), 5e-5),
    ("--time-limit 9", lambda g: g["schedule"].progress(0, 9.0), 1.0),
    ("--gen-filters 8", lambda g: g["generator"].options["filters"], 8),
    ("--gen-filters 8 12 --gen-res-blocks 2", lambda g: g["generator"].options["filters"], [8, 12]),
    ("--gen-res-blocks 2", lambda g: g["generator"].options["blocks"], 2),
    ("--batch-norm", lambda g: any(isinstance(m, torch.nn.BatchNorm2d) for m in g["generator"].modules()), True),
    ("--discr-filters 8", lambda g: next(g["discriminator"].parameters()).shape[0], 8),
    ("--discr-weight 7", lambda g: g["losses"].adversarial_weight, 7.0),
    ("--discr-weight 0", lambda g: g["discriminator"], None),
    ("--perceptual-weight 3", lambda g: g["losses"].content_weight, 3.0),
    ("--pixel-weight 2", lambda g: (of_black_and_white(g["losses"].anchor), g["losses"].anchor_weight), (255.0, 2.0)),
    ("--content l1 --luma-share 0.5", lambda g: g["losses"].content.luma_share, 0.5),
    ("--luma-share 0.5", lambda g: g["losses"].pixels.luma_share, 0.5),
    ("--content l1", lambda g: of_black_and_white(g["losses"].content), 255.0),
    ("--loss-scale paper", lambda g: of_black_and_white(g["losses"].content), 4.0),
    ("--adversarial relativistic", lambda g: g["losses"].adversarial, "relativistic"),
    ("--gen-pretrain 4", lambda g: g["schedule"].pretrain, 4),
    ("--apply-blur 1.5", lambda g: g["patches"].degradation.blur, 1.5),
    ("--apply-noise 4", lambda g: g["patches"].degradation.noise, 4.0),
    ("--apply-jpeg 30 60", lambda g: g["patches"].degradation.jpeg, (30, 60)),
    ("--seed 3", lambda g: g["patches"].seed, 3),
    ("--ema 0.5", lambda g: g["game"].ema.decay, 0.5),
    ("--clip-gradients 2", lambda g: g["game"]._clip, 2.0),
    ("--keep 9", lambda g: g["keep"], 9),
    ("--model-name faces", lambda g: g["folder"].name, "faces"),
    ("--precision bf16", lambda g: g["hardware"].bf16, True),
    ("--compile", lambda g: g["hardware"].compile, True),
    ("--network fast", lambda g: g["describe"]["network"], "fast"),
    ("--equalize-colors", lambda g: g["describe"]["recipe"]["equalize_colors"], True),
]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "read", "expected"), REACHES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_each_option_reaches_its_place(given: Any, line: str, read: Any, expected: Any) -> None:
    if line != "--precision bf16" or not given("")["hardware"].bf16:  # a machine with bf16 chooses it by itself
        assert read(given("")) != expected, "the default already is what the option asks for: the test cannot fail"
    assert (
        read(given(line)) == pytest.approx(expected) if isinstance(expected, float) else read(given(line)) == expected
    )


def test_the_seed_draws_weights_too(given: Any) -> None:
    first, again, other = (next(given(f"--seed {seed}")["generator"].parameters()) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_validation_equalizes_when_told(given: Any, tmp_path: Path) -> None:
    sharp = write_scenes(tmp_path / "sharp", range(100, 101))
    network = given("--network fast")["generator"].eval()
    with torch.no_grad():  # a network whose colours are wrong
        network.body[-1].bias += 0.2
    scores = [
        given(f"--network fast --validate {sharp} {more}")["measure"](network)["psnr"]
        for more in ("", "--equalize-colors")
    ]
    assert scores[1] > scores[0] + 3


def test_a_weight_that_drowns_the_content_is_told(given: Any, capsys: pytest.CaptureFixture[str]) -> None:
    given("")
    assert "--discr-weight 15 for mse" in capsys.readouterr().out
    given("--discr-weight 15")
    assert "is meant for VGG" not in capsys.readouterr().out


def test_patches_too_small_for_the_features_are_refused(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Deep(torch.nn.Module):
        smallest, description = 64, "deep features"

    monkeypatch.setattr(cli, "content_loss", lambda *_, **__: Deep())
    assert main([str(photos), "--runs", str(tmp_path), "--patch-size", "48"]) == 2
    assert "at least 64 for deep features" in capsys.readouterr().err


def test_the_features_are_those_asked_for(given: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: dict[str, Any] = {}

    def loss(kind: str, **how: Any) -> torch.nn.Module:
        if kind == "vgg":
            asked.update(how)
        return content_loss("mse")

    monkeypatch.setattr(cli, "content_loss", loss)
    given(f"--content vgg --vgg-layer conv3_3 --perceptual-weights {tmp_path / 'v.pth'} --loss-scale paper")
    assert (asked["layer"], asked["weights"], asked["scale"]) == ("conv3_3", tmp_path / "v.pth", "paper")
    given("--content vgg")
    assert (asked["layer"], asked["weights"], asked["scale"]) == (None, None, "8bit")


def test_lpips_weights_that_are_not_there_are_told(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = str(tmp_path / "alex.safetensors")
    more = ["--network", "fast", "--validate", str(photos), "--lpips-weights", missing, "--runs", str(tmp_path)]
    assert main([str(photos), *more]) == 1
    assert missing in capsys.readouterr().err


def test_threads_are_those_asked_for(given: Any) -> None:
    before = torch.get_num_threads()
    try:
        for threads in (2, 1):
            given(f"--threads {threads}")
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("wanted", [True, False])
def test_tensorboard_gets_scalars_and_strips_when_wanted(photos: Path, tmp_path: Path, wanted: bool) -> None:
    short = "--network fast --gen-filters 8 --gen-res-blocks 1 --patch-size 32 --epochs 1 --epoch-size 2 --platform cpu"
    sharp = write_scenes(tmp_path / "sharp", range(100, 101))
    flag = "--tensorboard" if wanted else "--no-tensorboard"
    assert main([str(photos), "--runs", str(tmp_path), "--validate", str(sharp), flag, *short.split()]) == 0
    folder = tmp_path / "default" / "tensorboard"
    assert folder.exists() == wanted
    if wanted:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        written = EventAccumulator(str(folder))
        written.Reload()
        assert {"loss", "psnr", "learning_rate"} <= set(written.Tags()["scalars"])
        assert written.Scalars("psnr")[0].step == 2
        assert written.Tags()["images"] == ["sample"]


def test_without_photographs_it_says_what_to_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "no photographs" in capsys.readouterr().err


def test_photographs_that_are_none_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none"), "--runs", str(tmp_path)]) == 1
    assert "does not exist" in capsys.readouterr().err


def test_falling_back_to_the_processor_is_told(given: Any, capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("needs a machine without a GPU")
    given("--platform gpu")
    assert "no CUDA device" in capsys.readouterr().out
    given("--platform cpu")
    assert "no CUDA device" not in capsys.readouterr().out


def test_print_config_is_json_of_what_is_in_force(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["photos", "--network", "fast", "--epochs", "3", "--print-config"]) == 0
    config = json.loads(capsys.readouterr().out)
    assert (config["inputs"], config["epochs"], config["learning-rate"]) == (["photos"], 3, 1e-3)


def test_the_networks_are_listed_with_size_and_work(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list-networks"]) == 0
    told = capsys.readouterr().out
    for name in ("srresnet", "srcnn", "espcn", "vdsr", "drcn", "fast"):
        assert name in told
    assert "146,832" in told  # parameters of fast at x4


def test_a_batch_can_be_looked_at(photos: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "batch.png"
    assert main([str(photos), "--runs", str(tmp_path), "--platform", "cpu", "--show-batch", str(sheet)]) == 0
    assert min(Image.open(sheet).size) > 96
