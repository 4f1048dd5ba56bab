"""Real runs of chetko-train, tiny and whole: they learn, stop, go on and end as the command line says."""

from __future__ import annotations

import csv
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.unit.training.scenes import scene, write_scenes
from training.checkpoint import load_checkpoint, network_of
from training.cli import main
from training.evaluation.restore import bicubic_restorer, mean_scores, torch_restorer
from training.resize import shrink

COMMAND = [sys.executable, "-m", "training.cli"]
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("photos"), range(12))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def arguments(photos: Path, runs: Path, *more: str) -> list[str]:
    """A tiny `fast` at x2; whatever ``more`` says wins."""
    small = "--network fast --gen-res-blocks 2 --gen-filters 16 --patch-size 48 --batch-size 8 --threads 1 --scale 2"
    where = ["--runs", str(runs), "--model-name", "tiny", "--platform", "cpu", "--no-tensorboard"]
    return [str(photos), *where, *small.split(), *more]


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_trained_network_beats_bicubic_on_pictures_it_never_saw(photos: Path, tmp_path: Path) -> None:
    assert main(arguments(photos, tmp_path, *["--epochs", "4", "--epoch-size", "300", "--learning-rate", "4e-3"])) == 0
    losses = [float(row["loss"]) for row in rows_of(tmp_path / "tiny")]
    assert len(losses) == 4
    assert losses[-1] < losses[0]
    pairs = [(shrink(scene(seed), 2), scene(seed)) for seed in (100, 101)]
    network = network_of(load_checkpoint(tmp_path / "tiny/last.pt"))
    ours = mean_scores(torch_restorer(network), pairs, 2)["psnr"]
    theirs = mean_scores(bicubic_restorer(2), pairs, 2)["psnr"]
    assert ours > theirs + 0.5, f"{ours} dB against {theirs} dB of bicubic"


# Both stages, a discriminator and noise: everything that a checkpoint has to hold.
GAME = [
    "--network",
    "srgan",
    "--gen-filters",
    "16",
    "--gen-res-blocks",
    "1",
    "--discr-filters",
    "4",
    "--content",
    "mse",
    "--patch-size",
    "32",
    "--batch-size",
    "4",
    "--gen-pretrain",
    "3",
    "--epochs",
    "3",
    "--epoch-size",
    "6",
    "--precision",
    "float32",
    "--apply-noise",
    "3",
    "--optimizer",
    "muon",
    "--weight-decay",
    "0.1",
    "--seed",
    "4",
]


def test_killed_and_resumed_equals_uninterrupted(photos: Path, tmp_path: Path) -> None:
    assert main(arguments(photos, tmp_path / "whole", *GAME)) == 0

    killed = subprocess.Popen([*COMMAND, *arguments(photos, tmp_path / "killed", *GAME)], stdout=subprocess.DEVNULL)
    last = tmp_path / "killed/tiny/last.pt"
    deadline = time.monotonic() + 120
    while not last.exists() and time.monotonic() < deadline:
        time.sleep(0.002)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert load_checkpoint(last)["step"] < 36, "the run was over before it could be killed"
    where = ["--runs", str(tmp_path / "killed"), "--model-name", "tiny"]
    assert main(["--resume", *where]) == 0  # the rest it knows from its own folder

    whole, resumed = (load_checkpoint(tmp_path / name / "tiny/last.pt") for name in ("whole", "killed"))
    assert whole["step"] == resumed["step"] == 36
    for part in ("weights", "ema", "discriminator"):
        for name, tensor in whole[part].items():
            assert torch.equal(tensor, resumed[part][name]), f"{part} {name}"
    steps = [row["step"] for row in rows_of(tmp_path / "killed/tiny")]
    assert steps == [row["step"] for row in rows_of(tmp_path / "whole/tiny")] == ["6", "12", "18", "24", "30", "36"]


def test_resuming_before_the_first_checkpoint_begins_anew(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(photos, tmp_path, *["--resume", "--epochs", "1", "--epoch-size", "3"])) == 0
    assert "no checkpoint yet" in capsys.readouterr().out
    assert load_checkpoint(tmp_path / "tiny/last.pt")["step"] == 3


def test_the_game_is_played_after_the_pretraining(photos: Path, tmp_path: Path) -> None:
    write_scenes(tmp_path / "sharp", range(100, 101))
    assert main(arguments(photos, tmp_path, *GAME, "--validate", str(tmp_path / "sharp"))) == 0
    rows = rows_of(tmp_path / "tiny")
    assert [row["stage"] for row in rows] == ["pretrain"] * 3 + ["adversarial"] * 3
    for row in rows[3:]:
        assert 0 <= float(row["accuracy"]) <= 1
        assert float(row["adversarial"]) > 0
        assert float(row["discriminator"]) > 0
        assert float(row["psnr"]) > 10
        # loss = 1 x content + 500 x adversarial
        expected = float(row["content"]) + 500 * float(row["adversarial"])
        assert float(row["loss"]) == pytest.approx(expected, rel=1e-3)
    # PSNR cannot judge a game: without LPIPS the newest checkpoint is the best.
    assert load_checkpoint(tmp_path / "tiny/best.pt")["step"] == 36
    strips = sorted((tmp_path / "tiny/samples").iterdir())
    assert [path.name for path in strips] == [f"epoch-{epoch:04}.png" for epoch in range(1, 7)]
    # LR | bicubic | SR | HR side by side
    width, height = Image.open(strips[-1]).size
    assert width >= 4 * 32
    assert height >= 32


def test_two_processes_do_what_one_does_with_the_doubled_batch(photos: Path, tmp_path: Path) -> None:
    more = [
        "--epochs",
        "3",
        "--epoch-size",
        "5",
        "--precision",
        "float32",
        "--learning-rate",
        "2e-3",
        "--apply-noise",
        "2",
    ]
    assert main(arguments(photos, tmp_path / "one", *more, "--batch-size", "8")) == 0
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", port]
    two = arguments(photos, tmp_path / "two", *more, "--batch-size", "4")
    done = subprocess.run(
        [*torchrun, "-m", "training.cli", *two],
        cwd=ROOT, capture_output=True, text=True, timeout=240, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    one, both = (rows_of(tmp_path / name / "tiny") for name in ("one", "two"))
    assert [float(row["loss"]) for row in both] == pytest.approx([float(row["loss"]) for row in one], rel=1e-4)
    weights = [load_checkpoint(tmp_path / name / "tiny/last.pt")["weights"] for name in ("one", "two")]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=1e-3, atol=1e-5, msg=name)


def test_a_time_limit_ends_the_run_with_the_schedule_done(photos: Path, tmp_path: Path) -> None:
    begun = time.monotonic()
    assert main(arguments(photos, tmp_path, *["--epochs", "1", "--epoch-size", "500000", "--time-limit", "2"])) == 0
    assert time.monotonic() - begun < 20
    # Also in the middle of an epoch the work is kept.
    assert 0 < load_checkpoint(tmp_path / "tiny/last.pt")["step"] < 500_000


def test_divergence_names_step_pictures_and_checkpoint(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begin = arguments(photos, tmp_path, *["--epochs", "1", "--epoch-size", "2", "--precision", "float32"])
    assert main(begin) == 0
    assert main([*begin, "--resume", "--epochs", "9", "--learning-rate", "1e30"]) == 1
    sentence = capsys.readouterr().err
    assert "not finite at step" in sentence
    assert ".png" in sentence
    assert str(tmp_path / "tiny/last.pt") in sentence
    good = load_checkpoint(tmp_path / "tiny/last.pt")
    assert all(torch.isfinite(tensor).all() for tensor in good["ema"].values())


def test_a_network_that_has_died_is_told_and_not_trained_on(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Layers of ReLU without a way around them die at rates that residual and leaky networks bear."""
    died = arguments(photos, tmp_path, *["--epochs", "9", "--epoch-size", "30", "--learning-rate", "1"])
    assert main([*died, "--network", "vdsr", "--gen-res-blocks", "6", "--optimizer", "muon"]) == 1
    sentence = capsys.readouterr().err
    assert "no gradient reaches the network's weights" in sentence
    assert "a lower --learning-rate" in sentence


def test_validation_pictures_choose_the_best_checkpoint(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert main(arguments(photos, tmp_path, "--validate", str(tmp_path / "empty"))) == 1
    assert "holds no picture" in capsys.readouterr().err
    sharp = write_scenes(tmp_path / "sharp", range(100, 101))
    more = [
        "--epochs",
        "6",
        "--epoch-size",
        "15",
        "--learning-rate",
        "2e-2",
        "--overwrite",
        "--keep",
        "2",
        "--validate",
    ]
    assert main(arguments(photos, tmp_path, *more, str(sharp))) == 0
    told = capsys.readouterr().out
    assert re.search(r"epoch 6/6  step 90  loss [\d.]+  PSNR [\d.]+ dB .*\d+ images/s  0:00:00 left", told), told
    quality = {int(row["step"]): float(row["psnr"]) for row in rows_of(tmp_path / "tiny")}
    step = max(quality, key=lambda step: quality[step])
    best = load_checkpoint(tmp_path / "tiny/best.pt")
    assert (best["step"], best["measured"]["psnr"]) == (step, pytest.approx(quality[step], abs=1e-3))
    pairs = [(shrink(scene(100), 2), scene(100))]
    assert mean_scores(torch_restorer(network_of(best)), pairs, 2)["psnr"] == pytest.approx(quality[step], abs=0.01)
    kept = sorted(path.name for path in (tmp_path / "tiny").glob("step-*.pt"))
    assert kept == ["step-00000075.pt", "step-00000090.pt"]


def test_a_run_is_not_overwritten_by_accident(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begin = arguments(photos, tmp_path, *["--epochs", "1", "--epoch-size", "2"])
    assert main(begin) == 0
    assert main(begin) == 2
    assert "--resume goes on" in capsys.readouterr().err
    assert main([*begin, "--overwrite", "--epoch-size", "3"]) == 0
    assert [row["step"] for row in rows_of(tmp_path / "tiny")] == ["3"]


def test_a_run_starts_from_another_scale(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(photos, tmp_path, *["--epochs", "1", "--epoch-size", "2"])) == 0
    first = str(tmp_path / "tiny/best.pt")
    more = f"--scale 4 --model-name large --init {first} --epochs 1 --epoch-size 1 --learning-rate 1e-12".split()
    assert main(arguments(photos, tmp_path, *more)) == 0
    told = capsys.readouterr().out
    assert "took 8 tensors; left out: none" in told
    small, large = (load_checkpoint(tmp_path / name / "best.pt")["ema"] for name in ("tiny", "large"))
    torch.testing.assert_close(large["body.0.weight"], small["body.0.weight"])
    repeated = small["body.6.bias"].reshape(3, 2, 2).repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
    torch.testing.assert_close(large["body.6.bias"], repeated.flatten())
    assert main(arguments(photos, tmp_path, "--init", str(tmp_path / "none.pt"), "--overwrite")) == 1
    assert "does not exist" in capsys.readouterr().err


def test_resuming_as_another_network_is_refused(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begin = arguments(photos, tmp_path, *["--epochs", "1", "--epoch-size", "1"])
    assert main(begin) == 0
    assert main([*begin, "--resume", "--gen-filters", "12"]) == 1
    assert "was trained as fast" in capsys.readouterr().err
