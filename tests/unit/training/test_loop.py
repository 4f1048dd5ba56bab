from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from training.checkpoint import CheckpointError, load_checkpoint, network_of, save_checkpoint, take_matching
from training.cli import main
from training.evaluation.restore import bicubic_restorer, mean_scores, torch_restorer
from training.loop import Schedule
from training.networks import build
from training.networks.fast import Fast
from training.resize import shrink


def scene(seed: int, edge: int = 160) -> np.ndarray:
    """Overlapping antialiased stripes and discs: what bicubic blurs and a network can learn to keep sharp."""
    random = np.random.default_rng(seed)
    edge *= 2
    y, x = np.mgrid[:edge, :edge]
    image = np.full((edge, edge, 3), random.integers(0, 256, 3), np.uint8)
    for _ in range(14):
        angle, period = random.uniform(0, np.pi), random.uniform(40, 120)
        cy, cx, radius = (*random.uniform(0, edge, 2), random.uniform(30, 120))
        disc = (y - cy) ** 2 + (x - cx) ** 2 < radius**2
        stripes = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period) > 0
        image[disc & stripes] = random.integers(0, 256, 3)
    return shrink(image, 2)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(12):
        Image.fromarray(scene(seed)).save(folder / f"{seed}.png")
    return folder


def arguments(photos: Path, runs: Path, *more: str) -> list[str]:
    small = ["--layers", "4", "--gen-filters", "16", "--patch-size", "48", "--batch-size", "8", "--threads", "1"]
    return [
        str(photos),
        "--runs",
        str(runs),
        "--model-name",
        "tiny",
        "--scale",
        "2",
        "--platform",
        "cpu",
        *small,
        *more,
    ]


def test_a_trained_network_beats_bicubic_on_pictures_it_never_saw(photos: Path, tmp_path: Path) -> None:
    assert main(arguments(photos, tmp_path, "--epochs", "4", "--epoch-size", "300", "--learning-rate", "4e-3")) == 0
    rows = (tmp_path / "tiny/results.csv").read_text().splitlines()
    losses = [float(row.split(",")[2]) for row in rows[1:]]
    assert len(losses) == 4
    pairs = [(shrink(scene(seed), 2), scene(seed)) for seed in (100, 101)]
    network = network_of(load_checkpoint(tmp_path / "tiny/last.pt"))
    ours = mean_scores(torch_restorer(network), pairs, 2)["psnr"]
    theirs = mean_scores(bicubic_restorer(2), pairs, 2)["psnr"]
    assert ours > theirs + 0.5, f"{ours} dB against {theirs} dB of bicubic"


def test_killed_and_resumed_equals_uninterrupted(photos: Path, tmp_path: Path) -> None:
    more = ("--epochs", "5", "--epoch-size", "20", "--seed", "4", "--precision", "float32")
    assert main(arguments(photos, tmp_path / "whole", *more)) == 0

    command = [sys.executable, "-c", "import sys; from training.cli import main; sys.exit(main())"]
    killed = subprocess.Popen([*command, *arguments(photos, tmp_path / "killed", *more)], stdout=subprocess.DEVNULL)
    last = tmp_path / "killed/tiny/last.pt"
    deadline = time.monotonic() + 60
    while not last.exists() and time.monotonic() < deadline:
        time.sleep(0.002)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    stopped_at = load_checkpoint(last)["step"]
    assert stopped_at < 100, "the run was over before it could be killed"
    assert main(arguments(photos, tmp_path / "killed", *more, "--resume")) == 0

    whole, resumed = (load_checkpoint(tmp_path / name / "tiny/last.pt") for name in ("whole", "killed"))
    assert whole["step"] == resumed["step"] == 100
    for part in ("weights", "ema"):
        for name, tensor in whole[part].items():
            assert torch.equal(tensor, resumed[part][name]), f"{part} {name}"


def test_a_time_limit_ends_the_run_with_the_schedule_done(photos: Path, tmp_path: Path) -> None:
    begun = time.monotonic()
    more = ("--epochs", "1", "--epoch-size", "500000", "--time-limit", "2")
    assert main(arguments(photos, tmp_path, *more)) == 0
    assert time.monotonic() - begun < 20
    # Also in the middle of an epoch the work is kept.
    assert 0 < load_checkpoint(tmp_path / "tiny/last.pt")["step"] < 500_000


def test_schedule_falls_from_the_rate_to_zero_and_follows_the_clock() -> None:
    by_steps = Schedule(100, 1e-3)
    rates = [by_steps.rate(by_steps.progress(step, 0.0)) for step in (0, 50, 100)]
    assert rates == pytest.approx([1e-3, 5e-4, 0.0])
    assert Schedule(100, 1e-3, time_limit=10.0).progress(5, 5.0) == 0.5


def test_divergence_names_the_step_and_the_checkpoint(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--epochs", "3", "--epoch-size", "10", "--learning-rate", "1e18", "--precision", "float32")
    assert main(arguments(photos, tmp_path, *more)) == 1
    sentence = capsys.readouterr().err
    assert "at step 10" in sentence
    assert "last.pt" in sentence


def test_validation_pictures_choose_the_best_checkpoint(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sharp = tmp_path / "sharp"
    sharp.mkdir()
    assert main(arguments(photos, tmp_path, "--validate", str(sharp))) == 1
    assert "holds no picture" in capsys.readouterr().err
    Image.fromarray(scene(100)).save(sharp / "a.png")
    more = ("--epochs", "6", "--epoch-size", "15", "--learning-rate", "2e-2", "--validate", str(sharp))
    assert main(arguments(photos, tmp_path, *more)) == 0
    rows = [row.split(",") for row in (tmp_path / "tiny/results.csv").read_text().splitlines()[1:]]
    step, quality = max(((int(row[0]), float(row[3])) for row in rows), key=lambda row: row[1])
    best = load_checkpoint(tmp_path / "tiny/best.pt")
    assert (best["step"], best["psnr"]) == (step, pytest.approx(quality))
    pairs = [(shrink(scene(100), 2), scene(100))]
    assert mean_scores(torch_restorer(network_of(best)), pairs, 2)["psnr"] == pytest.approx(quality, abs=0.01)


def test_x4_starts_from_x2(tmp_path: Path) -> None:
    small, large = Fast(2, 4, 8), Fast(4, 4, 8)
    taken, left = take_matching(large, small.state_dict())
    assert left == ["body.6.weight", "body.6.bias"]
    assert len(taken) == 6
    assert torch.equal(large.body[0].weight, small.body[0].weight)


def test_checkpoints_are_refused_with_a_reason(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        load_checkpoint(tmp_path / "no.pt")
    (tmp_path / "junk.pt").write_bytes(b"junk")
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        load_checkpoint(tmp_path / "junk.pt")
    save_checkpoint(tmp_path / "other.pt", {"weights": {}})
    with pytest.raises(CheckpointError, match="names no network"):
        load_checkpoint(tmp_path / "other.pt")


def test_an_unknown_network_lists_what_there_is() -> None:
    with pytest.raises(KeyError, match="fast"):
        build("slow")


def test_a_fresh_fast_is_nearest_neighbour() -> None:
    image = torch.rand(1, 3, 5, 7)
    out = Fast(4)(image)
    expected = image.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    torch.testing.assert_close(out, expected)
