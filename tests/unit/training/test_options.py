"""The options of chetko-train: the original's names and defaults, and how the layers over them add up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from training.options import DEFAULTS, OPTIONS, OptionsError, parse, parser

# Letter for letter, from the original tool.
ORIGINAL = {
    "scale": 4, "epochs": 10, "equalize_colors": False, "model_name": "default", "epoch_size": 64, "batch_size": 16,
    "patches": 5, "learning_rate": 1e-4, "learning_rate_decay": 0.5, "learning_rate_epochs": 75, "gen_res_blocks": 4,
    "perceptual_weight": 1.0, "discr_weight": 500.0, "discr_filters": 32, "gen_pretrain": 10, "platform": "gpu",
    "apply_blur": 0.0, "apply_noise": 0.0, "apply_jpeg": [],
}  # fmt: skip
NOT_THE_NETWORKS = {"gen_filters", "gen_res_blocks"}
"""None means: the network's own, which for srgan's srresnet is the original's 64 and 4 (tested with the networks)."""


def test_defaults_are_the_originals() -> None:
    values = parse(["photos"]).values
    assert values["network"] == "srgan"
    for key, value in ORIGINAL.items():
        if key not in NOT_THE_NETWORKS:
            assert values[key] == value, key


def test_every_option_of_the_original_is_taken() -> None:
    command = parse(
        [
            "photos",
            "more.png",
            "--scale",
            "2",
            "--epochs",
            "3",
            "--equalize-colors",
            "--model-name",
            "faces",
            "--apply-blur",
            "1.5",
            "--apply-noise",
            "4",
            "--apply-jpeg",
            "30",
            "50",
            "70",
            "--epoch-size",
            "8",
            "--batch-size",
            "4",
            "--patches",
            "2",
            "--learning-rate",
            "2e-4",
            "--learning-rate-decay",
            "0.9",
            "--learning-rate-epochs",
            "5",
            "--gen-filters",
            "32",
            "48",
            "64",
            "--gen-res-blocks",
            "3",
            "--perceptual-weight",
            "0.5",
            "--discr-weight",
            "100",
            "--discr-filters",
            "16",
            "--gen-pretrain",
            "2",
            "--platform",
            "cpu",
        ]
    )
    assert command.inputs == [Path("photos"), Path("more.png")]
    assert command.apply_jpeg == [30, 50, 70]
    assert command.gen_filters == [32, 48, 64]
    assert (command.scale, command.epochs, command.equalize_colors, command.model_name) == (2, 3, True, "faces")
    assert (command.apply_blur, command.apply_noise, command.learning_rate_decay) == (1.5, 4.0, 0.9)
    assert (command.discr_weight, command.discr_filters, command.gen_pretrain) == (100.0, 16, 2)


def test_a_network_brings_its_recipe_and_what_is_said_wins() -> None:
    fast = parse(["photos", "--network", "fast"])
    assert (fast.content, fast.schedule, fast.discr_weight, fast.learning_rate) == ("l1", "cosine", 0.0, 1e-3)
    told = parse(["photos", "--network", "fast", "--discr-weight", "500", "--learning-rate", "3e-4"])
    assert (told.content, told.discr_weight, told.learning_rate) == ("l1", 500.0, 3e-4)


def test_a_configuration_file_lies_between_recipe_and_command_line(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('inputs = ["a", "b"]\nnetwork = "fast"\nlearning-rate = 2e-3\nepochs = 7\napply_jpeg = [40]\n')
    command = parse(["--config", str(file), "--epochs", "9"])
    assert command.inputs == [Path("a"), Path("b")]
    assert (command.network, command.learning_rate, command.epochs, command.apply_jpeg) == ("fast", 2e-3, 9, [40])
    assert command.content == "l1"  # the recipe of the network that the file names


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_every_option_can_stand_in_a_file_and_comes_back_from_it(option: object, tmp_path: Path) -> None:
    """What --print-config tells, put into a file, gives the same options again."""
    values = parse(["photos"]).as_json()
    name = option.name  # type: ignore[attr-defined]
    assert name in values
    changed = {
        bool: not values[name], int: 48, float: 0.25, str: "relu", Path: "some/where",
    }[option.kind]  # type: ignore[attr-defined]  # fmt: skip
    if option.choices:  # type: ignore[attr-defined]
        changed = next(choice for choice in option.choices if choice != values[name])  # type: ignore[attr-defined]
    if option.many:  # type: ignore[attr-defined]
        changed = [changed]
    file = tmp_path / "run.toml"
    file.write_text(f"{name} = {json.dumps(changed)}\n")
    told = parse(["photos", "--config", str(file)])
    assert told.as_json()[name] == changed
    assert getattr(told, option.key) != DEFAULTS[option.key]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("learning_rat = 1", "learning_rat is no option"),
        ("epochs = 1.5", "epochs must be a whole number"),
        ("epochs = true", "epochs must be a whole number"),
        ('network = "resnet"', "network must be one of"),
        ("batch-size = 0", "--batch-size must be at least 1"),
        ("apply-jpeg = [0]", "--apply-jpeg must be at least 1"),
        ("epochs = ", "is not TOML"),
    ],
)
def test_a_wrong_file_is_refused_with_what_to_change(text: str, sentence: str, tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text(text)
    with pytest.raises(OptionsError, match=sentence):
        parse(["photos", "--config", str(file)])
    with pytest.raises(OptionsError, match="cannot be read"):
        parse(["photos", "--config", str(tmp_path / "none.toml")])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("--learning-rate 0", "more than 0"),
        ("--ema 1", "at most"),
        ("--patch-size 90", "multiple of --scale"),
        ("--patch-size 100", "multiple of 16"),
        ("--epochs 0 --gen-pretrain 0", "nothing to do"),
        ("--luma-share 0.5 --gen-pretrain 0", "of pixels"),
        ("--model-name ../x", "plain name"),
        ("--apply-jpeg 101", "at most 100"),
        ("--time-limit -1", "more than 0"),
    ],
)
def test_contradictions_are_told(arguments: str, sentence: str) -> None:
    with pytest.raises(OptionsError, match=sentence):
        parse(["photos", *arguments.split()])


def test_a_resumed_run_keeps_its_options_unless_told(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    begun = parse(["photos", "--network", "fast", "--batch-size", "4", "--runs", str(tmp_path), "--model-name", "mine"])
    (folder / "config.json").write_text(json.dumps(begun.as_json()))
    resumed = parse(["--resume", "--runs", str(tmp_path), "--model-name", "mine", "--epochs", "3"])
    assert resumed.inputs == [Path("photos")]
    assert (resumed.network, resumed.batch_size, resumed.epochs) == ("fast", 4, 3)
    assert resumed.learning_rate == begun.learning_rate


def test_help_is_grouped_and_names_every_option() -> None:
    text = parser().format_help()
    for option in OPTIONS:
        assert option.flag in text
    for title in ("data:", "damage:", "network:", "loss:", "run:", "machine:", "files and measurements:"):
        assert f"\n{title}" in text, title
