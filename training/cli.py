"""``chetko-train``: photographs in, a model out."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from training.checkpoint import CheckpointError, load_checkpoint, take_matching
from training.data import Patches, open_photos
from training.evaluation.datasets import pictures_in, sharp_pairs
from training.evaluation.restore import mean_psnr
from training.loop import DivergedError, Schedule, train
from training.networks import NETWORKS, build
from training.pack import PackError


def parser() -> argparse.ArgumentParser:
    """The command's options; each default is the recipe of ``fast``."""
    top = argparse.ArgumentParser(
        prog="chetko-train", description="Trains a super-resolution network on photographs.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )  # fmt: skip
    data = top.add_argument_group("data")
    data.add_argument("inputs", nargs="+", type=Path, metavar="PHOTOS", help="picture files, folders, or one .pack")
    data.add_argument("--scale", type=int, choices=(2, 4), default=4, help="how many times larger")
    data.add_argument("--patch-size", type=int, default=128, metavar="PX", help="edge of a training patch, HR pixels")
    data.add_argument("--patches", type=int, default=1, help="patches taken from a picture before another is drawn")
    data.add_argument("--validate", type=Path, metavar="DIR", help="sharp pictures to measure on, kept out of training")
    net = top.add_argument_group("network")
    net.add_argument("--network", choices=sorted(NETWORKS), default="fast", help="which network")
    net.add_argument("--layers", type=int, default=8, help="convolutions in the network")
    net.add_argument("--gen-filters", type=int, default=48, help="channels of each convolution")
    net.add_argument("--init", type=Path, metavar="FILE", help="checkpoint whose matching tensors are taken over")
    run = top.add_argument_group("run")
    run.add_argument("--epochs", type=int, default=100, help="epochs of --epoch-size batches")
    run.add_argument("--epoch-size", type=int, default=500, help="batches in an epoch; a checkpoint follows each")
    run.add_argument("--time-limit", type=float, metavar="SECONDS", help="end, with the schedule fitted, by then")
    run.add_argument("--batch-size", type=int, default=16, help="patches in a batch")
    run.add_argument("--learning-rate", type=float, default=1e-3, help="of Adam, at the start of the cosine")
    run.add_argument("--ema", type=float, default=0.999, help="decay of the averaged weights, which are measured")
    run.add_argument(
        "--precision", choices=("bf16", "float32"), default="bf16", help="of the forward and backward pass"
    )
    run.add_argument("--platform", choices=("cpu", "gpu"), default="gpu", help="falls back to cpu, and says so")
    run.add_argument("--threads", type=int, help="CPU threads (torch's choice if not given)")
    run.add_argument("--seed", type=int, default=0, help="of weights and patches")
    run.add_argument("--model-name", default="default", help="the run's folder under --runs")
    run.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="where runs are kept")
    run.add_argument("--resume", action="store_true", help="go on from the run's last checkpoint")
    return top


def pick_device(platform: str) -> torch.device:
    """The GPU if asked for and there, else the CPU with a line that says why."""
    if platform == "gpu" and torch.cuda.is_available():
        return torch.device("cuda")
    if platform == "gpu":
        print("no CUDA device is available: training on the CPU (say --platform cpu to silence this)")
    return torch.device("cpu")


def run(options: argparse.Namespace) -> None:
    """Does what the parsed ``options`` say. Raises the errors that ``main`` turns into sentences."""
    if options.threads:
        torch.set_num_threads(options.threads)
    device = pick_device(options.platform)
    folder = options.runs / options.model_name
    resume = load_checkpoint(folder / "last.pt") if options.resume else None
    torch.manual_seed(options.seed)
    shape = {"scale": options.scale, "layers": options.layers, "filters": options.gen_filters}
    network = build(options.network, **shape)
    if resume and resume["network_options"] != network.options:
        raise CheckpointError(f"{folder} was trained with {resume['network_options']}, not {network.options}")
    if options.init and not resume:
        taken, left = take_matching(network, load_checkpoint(options.init)["ema"])
        print(f"{options.init}: took {len(taken)} tensors, left out {', '.join(left) or 'none'}")
    photos = open_photos(options.inputs, folder / "photos.pack")
    patches = Patches(
        photos, options.scale, patch_size=options.patch_size, batch_size=options.batch_size,
        patches=options.patches, seed=options.seed,
    )  # fmt: skip
    pairs = sharp_pairs(pictures_in(options.validate), options.scale, crop=384) if options.validate else []
    if options.validate and not pairs:
        raise ValueError(f"--validate {options.validate} holds no picture")
    recipe = {key: str(value) if isinstance(value, Path) else value for key, value in vars(options).items()}
    recipe["inputs"] = [str(path) for path in options.inputs]
    recipe["pictures"] = len(photos)
    print(f"{len(photos)} pictures, {sum(p.numel() for p in network.parameters()):,} parameters, {device}, {folder}/")
    train(
        network, patches,
        Schedule(options.epochs * options.epoch_size, options.learning_rate, options.time_limit),
        folder,
        describe={"network": options.network, "network_options": network.options, "recipe": recipe},
        device=device, epoch_size=options.epoch_size, ema_decay=options.ema, bf16=options.precision == "bf16",
        resume=resume, validate=(lambda net: mean_psnr(net, pairs, options.scale)) if pairs else None,
    )  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """The command ``chetko-train``; returns the exit code."""
    options = parser().parse_args(argv)
    try:
        run(options)
    except (PackError, CheckpointError, DivergedError, ValueError) as error:
        print(f"chetko-train: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; go on with --resume", file=sys.stderr)
        return 130
    return 0
