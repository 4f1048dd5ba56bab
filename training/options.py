"""Every option of ``chetko-train``: one table makes the command line, the TOML file and the recorded configuration.

The defaults are those of the original tool (its ``--network srgan``). A network may have a recipe of its own, which
replaces some of them; a configuration file goes over the recipe, and the command line over everything:

    defaults < recipe of --network < configuration of a resumed run < --config FILE.toml < command line
"""

from __future__ import annotations

import argparse
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training.networks import NETWORKS

GENERATOR_OF = {"srgan": "srresnet"}
"""``--network`` names that are recipes over another network."""


class OptionsError(Exception):
    """An option or a configuration file that cannot be meant; the sentence says what to change."""


@dataclass(frozen=True)
class Option:
    """One option. ``kind`` is a type that argparse can call; a list where ``many``; a switch where it is bool."""

    name: str
    group: str
    kind: type
    default: Any
    help: str
    metavar: str | None = None
    choices: Sequence[Any] | None = None
    many: bool = False
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None

    @property
    def key(self) -> str:
        return self.name.replace("-", "_")

    @property
    def flag(self) -> str:
        return f"--{self.name}"


_DATA = "data: what it learns from"
_DAMAGE = "damage: what the small pictures suffer, in this order (restoration models)"
_NET = "network"
_LOSS = "loss: perceptual-weight x content + pixel-weight x L1 + discr-weight x adversarial"
_RUN = "run"
_MACHINE = "machine"
_OUT = "files and measurements"

OPTIONS: tuple[Option, ...] = (
    Option("scale", _DATA, int, 4, "how many times larger the network makes a picture", choices=(2, 4)),
    Option("patches", _DATA, int, 5, "fragments cut out of a picture before another is drawn", "N", at_least=1),
    Option("patch-size", _DATA, int, 96, "edge of a fragment, in HR pixels", "PX", at_least=8),
    Option("validate", _DATA, Path, None, "sharp pictures to measure on; keep them out of PHOTOS", "DIR"),
    Option("apply-blur", _DAMAGE, float, 0.0, "Gaussian blur before shrinking, sigma in HR pixels", "SIGMA",
           at_least=0, at_most=16),
    Option("apply-noise", _DAMAGE, float, 0.0, "Gaussian noise after shrinking, sigma in 8-bit levels", "RADIUS",
           at_least=0, at_most=255),
    Option("apply-jpeg", _DAMAGE, int, (), "JPEG compression of the small picture: one quality, or several to draw",
           "Q", many=True, at_least=1, at_most=100),
    Option("network", _NET, str, "srgan", "what to train (--list-networks tells them apart)",
           choices=tuple(sorted({*NETWORKS, *GENERATOR_OF} - {"bicubic"}))),
    Option("gen-filters", _NET, int, (), "channels of the generator: one value for all layers, or one per residual "
           "block (64; the network's own where it is another)", "N", many=True, at_least=1),
    Option("gen-res-blocks", _NET, int, None, "residual blocks of the generator, or what the network repeats in their "
           "place: layers, recursions (4; the network's own where it is another)", "N", at_least=1),
    Option("batch-norm", _NET, bool, False, "batch normalisation in srresnet, as in the paper; folded at export"),
    Option("discr-filters", _NET, int, 32, "channels of the discriminator's first layer", "N", at_least=1),
    Option("init", _NET, Path, None, "start from a checkpoint, a .safetensors file or a model's folder: tensors of "
           "equal name and shape are taken, the rest is listed", "FILE"),
    Option("content", _LOSS, str, "vgg", "what SR and HR are compared by", choices=("mse", "l1", "vgg")),
    Option("perceptual-weight", _LOSS, float, 1.0, "weight of the content loss", "W", at_least=0),
    Option("pixel-weight", _LOSS, float, 0.0, "weight of the L1 of pixels beside the content loss: features hardly see "
           "that a whole picture changed its colour or brightness", "W", at_least=0),
    Option("luma-share", _LOSS, float, 0.0, "how much of mse, l1 and pretraining is the error of luma, in which detail "
           "is seen and PSNR measured; the rest is that of R, G and B", "SHARE", at_least=0, at_most=0.95),
    Option("vgg-layer", _LOSS, str, None, "features after the activation of LAYER (conv5_4 of VGG19, conv5_3 of VGG16)",
           "LAYER"),
    Option("perceptual-weights", _LOSS, Path, None, "VGG19 or VGG16 file as torchvision publishes it, a .safetensors "
           "of it, or the word download", "PATH"),
    Option("discr-weight", _LOSS, float, 500.0, "weight of the adversarial loss; 0: no discriminator", "W", at_least=0),
    Option("adversarial", _LOSS, str, "vanilla", "how the discriminator judges", choices=("vanilla", "relativistic")),
    Option("loss-scale", _LOSS, str, "8bit", "units of the content loss: 8-bit levels, or Ledig's ([-1,1], features / "
           "12.75; then --discr-weight 1e-3)", choices=("8bit", "paper")),
    Option("gen-pretrain", _RUN, int, 10, "epochs of the generator alone, on pixels, before the adversarial ones", "N",
           at_least=0),
    Option("epochs", _RUN, int, 10, "epochs after that", "N", at_least=0),
    Option("epoch-size", _RUN, int, 64, "batches in an epoch; each ends with a measurement and a checkpoint", "N",
           at_least=1),
    Option("batch-size", _RUN, int, 16, "fragments in a batch (of each process)", "N", at_least=1),
    Option("optimizer", _RUN, str, "adam", "what moves the generator's weights: adam, or muon, which learns more "
           "in a step", choices=("adam", "muon")),
    Option("weight-decay", _RUN, float, 0.0, "the generator's kernels between features shrink by this times the rate "
           "in every step", "RATE", at_least=0),
    Option("learning-rate", _RUN, float, 1e-4, "at the start", "RATE", above=0),
    Option("schedule", _RUN, str, "step", "step: the rate is multiplied by --learning-rate-decay every "
           "--learning-rate-epochs; cosine: it falls to zero at the end of the run", choices=("step", "cosine")),
    Option("learning-rate-decay", _RUN, float, 0.5, "factor of the step schedule", "FACTOR", above=0, at_most=1),
    Option("learning-rate-epochs", _RUN, int, 75, "epochs between two steps of the schedule", "N", at_least=1),
    Option("time-limit", _RUN, float, None, "end within this time, or after --epochs if they come first; stages and "
           "schedule fit themselves to it", "SECONDS", above=0),
    Option("clip-gradients", _RUN, float, 0.0, "largest norm of the generator's gradient, in units of the loss; "
           "0: never clipped", "NORM", at_least=0),
    Option("ema", _RUN, float, 0.999, "decay of the averaged weights, which are measured and exported", "DECAY",
           at_least=0, at_most=0.999999),
    Option("seed", _RUN, int, 0, "of weights, fragments and damage", "N", at_least=0),
    Option("platform", _MACHINE, str, "gpu", "gpu falls back to the processor where there is none, and says so",
           choices=("gpu", "cpu")),
    Option("precision", _MACHINE, str, "auto", "of forward and backward pass; auto: bf16 where this hardware "
           "multiplies it faster than float32", choices=("auto", "bf16", "float32")),
    Option("compile", _MACHINE, bool, None, "torch.compile the network (on a GPU unless told otherwise)"),
    Option("threads", _MACHINE, int, None, "CPU threads", "N", at_least=1),
    Option("model-name", _OUT, str, "default", "the run's folder under --runs, and the model's name", "NAME"),
    Option("runs", _OUT, Path, Path("runs"), "where runs are kept", "DIR"),
    Option("keep", _OUT, int, 3, "how many of the latest checkpoints stay, beside the best", "N", at_least=1),
    Option("equalize-colors", _OUT, bool, False, "give validation pictures, and later what is served, the source's "
           "colour histogram"),
    Option("lpips-weights", _OUT, Path, None, "lpips_alex.safetensors, to measure LPIPS on the validation pictures",
           "PATH"),
    Option("tensorboard", _OUT, bool, True, "write scalars and sample strips for TensorBoard into the run's folder"),
)  # fmt: skip

BY_KEY = {option.key: option for option in OPTIONS}
DEFAULTS: dict[str, Any] = {option.key: list(option.default) if option.many else option.default for option in OPTIONS}

# What a network is trained with when nothing is said. `srgan`, the original's program, is the defaults themselves.
_FIDELITY = {"content": "l1", "discr_weight": 0.0, "gen_pretrain": 0, "schedule": "cosine", "patches": 1}
# Half the batch, twice the steps: what a processor computes in a given time teaches more.
_PLAIN = _FIDELITY | {"epochs": 100, "epoch_size": 1000, "learning_rate": 1e-3, "patch_size": 128, "batch_size": 8}
RECIPES: dict[str, dict[str, Any]] = {
    "srgan": {},
    "srresnet": _FIDELITY | {"epochs": 200, "epoch_size": 500, "learning_rate": 5e-4},
    "fast": _PLAIN,
    "dilated": _PLAIN,
    "span": _FIDELITY | {"epochs": 200, "epoch_size": 500, "learning_rate": 5e-4, "patch_size": 128},
    "srcnn": _FIDELITY | {"content": "mse", "epochs": 100, "epoch_size": 500, "learning_rate": 5e-4},
    "espcn": _FIDELITY | {"content": "mse", "epochs": 100, "epoch_size": 500, "learning_rate": 1e-3},
    # Kim 2016 trains with high rates and clips gradients; with Adam, L1 and a cosine neither is needed.
    "vdsr": _FIDELITY | {"epochs": 100, "epoch_size": 500, "learning_rate": 5e-4},
    "drcn": _FIDELITY | {"epochs": 100, "epoch_size": 500, "learning_rate": 5e-4},
}


@dataclass(frozen=True)
class Command:
    """A parsed command line: the effective options, and what is not an option of the run."""

    inputs: list[Path]
    values: dict[str, Any]
    """Effective options by key (``learning_rate``)."""
    resume: bool = False
    overwrite: bool = False
    print_config: bool = False
    list_networks: bool = False
    show_batch: Path | None = None
    given: frozenset[str] = field(default_factory=frozenset)
    """Keys that the command line or the configuration file named."""

    def __getattr__(self, key: str) -> Any:
        if key in BY_KEY:
            return self.values[key]
        raise AttributeError(key)

    @property
    def generator(self) -> str:
        """The network that is trained: a name in NETWORKS."""
        return GENERATOR_OF.get(self.values["network"], self.values["network"])

    @property
    def folder(self) -> Path:
        """Where the run is kept."""
        return Path(self.values["runs"]) / self.values["model_name"]

    def as_json(self) -> dict[str, Any]:
        """All effective options with plain values, inputs first, by their names on the command line."""
        plain = {option.name: _plain(self.values[option.key]) for option in OPTIONS}
        return {"inputs": [str(path) for path in self.inputs], **plain}

    def recipe(self) -> dict[str, Any]:
        """The same by key, as checkpoints and manifests keep it."""
        return {name.replace("-", "_"): value for name, value in self.as_json().items()}


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def parser() -> argparse.ArgumentParser:
    """The command line. Options that are not given are absent from the result, so that layers below them show."""
    top = argparse.ArgumentParser(
        prog="chetko-train",
        description="Trains a super-resolution network on photographs, on a processor, a GPU or (under torchrun) many.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    top.add_argument("inputs", nargs="*", type=Path, metavar="PHOTOS", help="picture files, folders (read with all "
                     "their subfolders), or one file made by chetko-pack")  # fmt: skip
    action = top.add_argument_group("instead of training")
    action.add_argument("--list-networks", action="store_true", help="tell the networks, their size and their work")
    action.add_argument("--print-config", action="store_true", help="print the effective options as JSON")
    action.add_argument(
        "--show-batch", type=Path, metavar="OUT.png", help="draw the first batch, as the network sees it"
    )
    groups = {"instead of training": action}
    for option in OPTIONS:
        group = groups.get(option.group) or groups.setdefault(option.group, top.add_argument_group(option.group))
        _add(group, option)
    run = groups[_RUN]
    run.add_argument("--resume", action="store_true", help="go on from the last checkpoint, with the run's own options")
    run.add_argument("--overwrite", action="store_true", help="start anew where a run of this name exists")
    run.add_argument(
        "--config", type=Path, metavar="FILE.toml", help="options by their names here; the command line wins"
    )
    return top


_EPILOG = """\
Defaults are those of --network srgan, the original's program: --gen-pretrain epochs of the generator alone, then
--epochs adversarial ones. Other networks bring a recipe of their own; --print-config shows what is in force.

  chetko-train photos/ --network fast --time-limit 300 --model-name mine
  chetko-train photos/ --scale 4 --model-name faces
  torchrun --nproc-per-node 8 -m training.cli photos.pack --network srresnet --gen-res-blocks 16
"""


def _add(group: Any, option: Option) -> None:
    told = "" if option.default in (None, (), False) else f" (default: {_shown(option.default)})"
    help_ = (option.help + told).replace("%", "%%")
    if option.kind is bool:
        group.add_argument(option.flag, action=argparse.BooleanOptionalAction, help=help_)
    else:
        group.add_argument(
            option.flag, type=option.kind, nargs="+" if option.many else None, metavar=option.metavar,
            choices=option.choices, help=help_,
        )  # fmt: skip


def _shown(default: Any) -> str:
    return {True: "yes"}.get(default, str(default)) if isinstance(default, bool) else str(default)


def parse(arguments: Sequence[str] | None = None) -> Command:
    """The command line with every layer below it. Raises OptionsError; argparse exits by itself on its own errors."""
    given = vars(parser().parse_args(arguments))
    actions = {
        key: given.pop(key, default)
        for key, default in (
            ("inputs", []), ("resume", False), ("overwrite", False), ("print_config", False),
            ("list_networks", False), ("show_batch", None), ("config", None),
        )
    }  # fmt: skip
    config = actions.pop("config")
    from_file = read_config(config) if config else {}
    inputs: list[Path] = actions.pop("inputs") or from_file.pop("inputs", [])
    from_file.pop("inputs", None)
    stored: dict[str, Any] = {}
    if actions["resume"]:
        folder = Path(_layered("runs", from_file, given)) / _layered("model_name", from_file, given)
        stored = read_run(folder)
        inputs = inputs or stored.pop("inputs", [])
        stored.pop("inputs", None)
    network = _layered("network", stored, from_file, given)
    values = DEFAULTS | RECIPES.get(network, {}) | stored | from_file | given
    _check(values)
    return Command(inputs, values, given=frozenset({**from_file, **given}), **actions)


def _layered(key: str, *layers: Mapping[str, Any]) -> Any:
    found = DEFAULTS[key]
    for layer in layers:
        found = layer.get(key, found)
    return found


def read_config(path: Path) -> dict[str, Any]:
    """Options of a TOML file, by key. Raises OptionsError for what is no option or no value of it."""
    try:
        table = tomllib.loads(path.read_text())
    except OSError as error:
        raise OptionsError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OptionsError(f"{path} is not TOML: {error}") from error
    return _from_plain(table, str(path))


def read_run(folder: Path) -> dict[str, Any]:
    """The options that the run in ``folder`` was started with, by key; empty where there is no such run."""
    path = folder / "config.json"
    if not path.exists():
        return {}
    return _from_plain(json.loads(path.read_text()), str(path))


def _from_plain(table: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Plain values, by the names of the command line (either hyphens or underscores), as typed ones by key."""
    values: dict[str, Any] = {}
    for name, value in table.items():
        key = name.replace("-", "_")
        if key == "inputs":
            values["inputs"] = [Path(each) for each in ([value] if isinstance(value, str) else value)]
            continue
        if key not in BY_KEY:
            raise OptionsError(f"{where}: {name} is no option of chetko-train")
        values[key] = _typed(BY_KEY[key], value, where)
    return values


def _typed(option: Option, value: Any, where: str) -> Any:
    if value is None and option.default is None:
        return None
    if option.many:
        items = value if isinstance(value, list) else [value]
        return [_typed(Option(option.name, option.group, option.kind, None, ""), item, where) for item in items]
    wanted = {Path: str, float: (int, float)}.get(option.kind, option.kind)
    if not isinstance(value, wanted) or (isinstance(value, bool) and option.kind is not bool):
        raise OptionsError(f"{where}: {option.name} must be {_NAMED[option.kind]}, not {value!r}")
    if option.choices and value not in option.choices:
        raise OptionsError(
            f"{where}: {option.name} must be one of {', '.join(map(str, option.choices))}, not {value!r}"
        )
    return option.kind(value)


_NAMED = {int: "a whole number", float: "a number", str: "a text", Path: "a path", bool: "true or false"}


def _check(values: Mapping[str, Any]) -> None:
    """Raises OptionsError for the first value out of its bounds, and for options that contradict each other."""
    for option in OPTIONS:
        for value in values[option.key] if option.many else [values[option.key]]:
            if value is None or isinstance(value, bool) or not isinstance(value, int | float):
                continue
            if option.at_least is not None and not value >= option.at_least:
                raise OptionsError(f"{option.flag} must be at least {option.at_least:g}, not {value}")
            if option.above is not None and not value > option.above:
                raise OptionsError(f"{option.flag} must be more than {option.above:g}, not {value}")
            if option.at_most is not None and not value <= option.at_most:
                raise OptionsError(f"{option.flag} must be at most {option.at_most:g}, not {value}")
    if values["patch_size"] % values["scale"]:
        raise OptionsError(
            f"--patch-size must be a multiple of --scale ({values['scale']}), and {values['patch_size']} is none"
        )
    if values["discr_weight"] and values["patch_size"] % 16:
        raise OptionsError(f"--patch-size must be a multiple of 16 for the discriminator, not {values['patch_size']}")
    if values["gen_pretrain"] + values["epochs"] == 0:
        raise OptionsError("--gen-pretrain and --epochs are both 0: there is nothing to do")
    if values["luma_share"] and values["content"] == "vgg" and not values["gen_pretrain"]:
        raise OptionsError("--luma-share is of pixels, and with --content vgg and --gen-pretrain 0 none are compared")
    name = values["model_name"]
    if name in ("", ".", "..") or any(sign in name for sign in "/\\\0"):
        raise OptionsError(f"--model-name must be a plain name, not {name!r}")
