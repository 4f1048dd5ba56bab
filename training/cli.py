"""``chetko-train``: photographs in, a model out."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from training import distributed
from training.batch_sheet import write_batch_sheet
from training.checkpoint import BEST, LAST, CheckpointError, initial_weights, load_checkpoint, take_matching
from training.data import Patches, low_resolution
from training.degradation import Degradation
from training.degraded_pictures import degraded_pairs
from training.distributed import Workers
from training.evaluation.datasets import pictures_in, sharp_pairs
from training.evaluation.lpips import Lpips, find_lpips_weights
from training.game import Game, Losses
from training.hardware import Hardware, choose_hardware
from training.journal import Journal, Silence
from training.loop import DivergedError, train
from training.losses.content import content_loss
from training.networks import NETWORKS, build, describe_networks
from training.networks.discriminator import Discriminator
from training.options import Command, OptionsError, parse
from training.pack import Pack, PackError
from training.photo_files import PhotoError
from training.photos import open_photos
from training.schedule import Schedule
from training.validation import Validation
from training.weights import WeightsError

VALIDATION_EDGE = 384
"""HR pixels of a validation picture's central square that is measured: an epoch must not wait for whole photographs."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command ``chetko-train``; returns the exit code: 0 done, 1 failed, 2 wrong options, 130 interrupted."""
    code = _main(arguments)
    distributed.leave(code)
    return code


def _main(arguments: Sequence[str] | None) -> int:
    try:
        return run(parse(arguments))
    except OptionsError as error:
        print(f"chetko-train: {error}", file=sys.stderr)
        return 2
    except (PhotoError, PackError, WeightsError, CheckpointError, DivergedError, ValueError, OSError) as error:
        print(f"chetko-train: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; the same command with --resume goes on", file=sys.stderr)
        return 130


def run(command: Command) -> int:
    """Does what a parsed command line says. Raises the errors that ``main`` turns into sentences."""
    if command.list_networks:
        _list_networks(command.scale)
        return 0
    if command.print_config:
        print(json.dumps(command.as_json(), indent=2))
        return 0
    if not command.inputs:
        raise OptionsError("no photographs are given: name folders, files or a pack made by chetko-pack")
    if command.threads:
        torch.set_num_threads(command.threads)
    hardware = choose_hardware(command.platform, command.precision, command.compile)
    workers = distributed.join(hardware.device)
    if command.show_batch:
        patches = _patches(command, hardware, workers, Path(command.runs))
        write_batch_sheet(patches.batch(0), command.show_batch)
        print(f"{command.show_batch}: what the network sees, and what it should make of it")
        return 0
    _train(command, hardware, workers)
    return 0


def _train(command: Command, hardware: Hardware, workers: Workers) -> None:
    folder = command.folder
    resume = _claim(command, workers)
    torch.manual_seed(command.seed)
    generator = _generator(command, resume, say=print if workers.chief else _say_nothing)
    discriminator = (
        Discriminator(filters=command.discr_filters, patch_size=command.patch_size) if command.discr_weight else None
    )
    losses = _losses(command, hardware, say=print if workers.chief else _say_nothing)
    validation = _validation(command) if workers.chief else None
    patches = _patches(command, hardware, workers, folder)
    recipe = command.recipe() | {"pictures": len(patches.photos), "hardware": str(hardware), "workers": workers.world}
    if workers.chief:
        parameters = sum(parameter.numel() for parameter in generator.parameters())
        print(f"{len(patches.photos):,} pictures, {command.generator} x{command.scale} with {parameters:,} parameters")
        print(f"{hardware}; the run is kept in {folder}/")
    with _journal(command, workers, resume) as journal:
        train(
            Game(
                generator, discriminator, losses, hardware=hardware, workers=workers, ema_decay=command.ema,
                clip=command.clip_gradients, optimizer=command.optimizer, decay=command.weight_decay,
            ),
            patches, _schedule(command), folder,
            hardware=hardware, workers=workers, journal=journal, resume=resume, keep=command.keep,
            describe={"network": command.generator, "network_options": generator.options, "recipe": recipe},
            measure=validation, sample=validation.strip if validation else None,
        )  # fmt: skip
    if workers.chief:
        print(f"done; to serve it: chetko-export {folder / BEST} -o MODELS/{command.model_name}")


def _schedule(command: Command) -> Schedule:
    return Schedule(
        command.gen_pretrain, command.epochs, command.epoch_size, command.learning_rate, command.schedule,
        command.learning_rate_decay, command.learning_rate_epochs, command.time_limit,
    )  # fmt: skip


def _journal(command: Command, workers: Workers, resume: dict[str, Any] | None) -> Journal:
    if not workers.chief:
        return Silence()
    return Journal(command.folder, tensorboard=command.tensorboard, resumed_at=resume["step"] if resume else 0)


def _say_nothing(_: str) -> None:
    """The ``say`` of a process that is not the chief."""


def _claim(command: Command, workers: Workers) -> dict[str, Any] | None:
    """Makes the run's folder and writes its configuration; returns the state to go on from, where there is one."""
    folder = command.folder
    last = folder / LAST
    resume = load_checkpoint(last) if command.resume and last.exists() else None
    if not workers.chief:
        workers.wait()
        return resume
    if last.exists() and not (command.resume or command.overwrite):
        raise OptionsError(
            f"{folder} holds a run already: --resume goes on, --overwrite starts anew, --model-name names another"
        )
    if command.overwrite and folder.exists():
        for path in (*folder.glob("*.pt"), folder / "results.csv"):
            path.unlink(missing_ok=True)
        for part in ("samples", "tensorboard"):
            shutil.rmtree(folder / part, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / "config.json.part"
    partial.write_text(json.dumps(command.as_json(), indent=2) + "\n")
    partial.replace(folder / "config.json")
    if command.resume and resume is None:
        print(f"{folder} has no checkpoint yet: starting from the beginning")
    workers.wait()
    return resume


def _generator(command: Command, resume: dict[str, Any] | None, *, say: Callable[[str], None]) -> nn.Module:
    options = NETWORKS[command.generator].from_command(
        command.scale, filters=command.gen_filters or None, blocks=command.gen_res_blocks
    )
    if command.batch_norm:
        if command.generator != "srresnet":
            raise OptionsError(f"--batch-norm belongs to srresnet and srgan, not to {command.network}")
        options |= {"batch_norm": True}
    network = build(command.generator, **options)
    if resume and (resume["network"], resume["network_options"]) != (command.generator, network.options):
        raise CheckpointError(
            f"{command.folder} was trained as {resume['network']} {resume['network_options']}, "
            f"not {command.generator} {network.options}"
        )
    if command.init and not resume:
        taken, left = take_matching(network, initial_weights(command.init, command.scale))
        if not taken:
            raise CheckpointError(
                f"{command.init} has no tensor that fits {command.generator}: {', '.join(left[:5])} ..."
            )
        say(f"{command.init}: took {len(taken)} tensors; left out: {', '.join(left) or 'none'}")
    return network


def _patches(command: Command, hardware: Hardware, workers: Workers, folder: Path) -> Patches:
    say = print if workers.chief else _say_nothing
    if not workers.chief:
        workers.wait()  # the chief packs; the others find it done
    photos = open_photos(command.inputs, folder / "photos.pack", say=say)
    if isinstance(photos, Pack) and not command.apply_blur:
        low_resolution(photos, command.scale, say)
    if workers.chief:
        workers.wait()
    return Patches(
        photos, command.scale, patch_size=command.patch_size, batch_size=command.batch_size, patches=command.patches,
        seed=command.seed, degradation=_degradation(command),
        device=hardware.device, rank=workers.rank, world=workers.world, say=say,
    )  # fmt: skip


def _degradation(command: Command) -> Degradation:
    return Degradation(command.apply_blur, command.apply_noise, tuple(command.apply_jpeg))


def _losses(command: Command, hardware: Hardware, *, say: Callable[[str], None]) -> Losses:
    def loss(kind: str, luma_share: float = 0.0) -> nn.Module:
        layer = command.vgg_layer if kind == "vgg" else None
        return content_loss(
            kind, layer=layer, weights=command.perceptual_weights, scale=command.loss_scale, luma_share=luma_share,
            say=say,
        ).to(hardware.device)  # fmt: skip

    _warn_of_balance(command, say)
    content = loss(command.content, command.luma_share)
    if command.patch_size < content.smallest:
        raise OptionsError(
            f"--patch-size must be at least {content.smallest} for {content.description}, not {command.patch_size}"
        )
    return Losses(
        pixels=loss("l1" if command.content == "l1" else "mse", command.luma_share), content=content,
        content_weight=command.perceptual_weight, adversarial_weight=command.discr_weight,
        anchor=loss("l1") if command.pixel_weight else None, anchor_weight=command.pixel_weight,
        adversarial=command.adversarial,
    )  # fmt: skip


def _warn_of_balance(command: Command, say: Callable[[str], None]) -> None:
    """500 balances VGG features; pixels weigh so little beside it that the picture would be the discriminator's."""
    if command.content != "vgg" and command.discr_weight and "discr_weight" not in command.given:
        say(
            f"--discr-weight {command.discr_weight:g} is meant for VGG features: with --content {command.content} it "
            "drowns the content. A third of the content's gradient is --discr-weight 15 for mse and 0.3 for l1"
        )


def _validation(command: Command) -> Validation | None:
    if command.validate is None:
        return None
    paths = pictures_in(command.validate)
    if not paths:
        raise ValueError(f"--validate {command.validate} holds no picture")
    weights = find_lpips_weights(command.lpips_weights)
    return Validation(
        degraded_pairs(sharp_pairs(paths, command.scale, crop=VALIDATION_EDGE), command.scale, _degradation(command)),
        command.scale,
        lpips=Lpips(weights) if weights else None, equalize=command.equalize_colors,
    )  # fmt: skip


def _list_networks(scale: int) -> None:
    rows = [("NETWORK", "PAPER", "PARAMETERS", "MULTIPLY-ADDS PER INPUT PIXEL", "WHAT IT IS")]
    rows += [
        (each.name, each.paper, f"{each.parameters:,}", f"{each.multiply_adds:,}", each.summary)
        for each in describe_networks(scale)
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for name, paper, *numbers, summary in rows:
        figures = "  ".join(number.rjust(width) for number, width in zip(numbers, widths[2:], strict=True))
        print(f"{name.ljust(widths[0])}  {paper.ljust(widths[1])}  {figures}  {summary}")
    print(f"\nAt x{scale} and their own defaults, as served. srgan is srresnet, trained against a discriminator.")


if __name__ == "__main__":
    sys.exit(main())
