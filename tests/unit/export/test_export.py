from __future__ import annotations

import dataclasses
import hashlib
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.ndimage import maximum_filter
from torch import Tensor, nn

from app.inference.device import choose_device
from app.inference.engine import Engine
from app.inference.registry import Registry
from model_export.cli import main, parser, trained
from model_export.export import EXAMPLES, ExportError, Source, Wishes, common_halo, export, float_restorer
from model_export.manifest import Words, merge_scale
from model_export.measure import Difference, Image8, halo_holds, measured_halo
from model_export.pictures import graphics, one_bit_noise, poster, proving_set
from model_export.precisions import Precision
from model_export.serving import served_form, to_onnx
from model_export.srvgg import to_srvgg
from model_export.worse import CannotTellError
from tests.unit.export.test_foreign import msrresnet, msrresnet_state
from training.blend import blend
from training.checkpoint import CheckpointError, initial_weights, load_checkpoint, save_checkpoint, take_matching
from training.evaluation.restore import onnx_restorer, torch_restorer
from training.networks.dilated import Dilated
from training.networks.fast import NEGATIVE_SLOPE, Fast
from training.networks.work import multiply_adds


def network(scale: int = 2, layers: int = 4) -> Fast:
    torch.manual_seed(1)
    made = Fast(scale, layers, 12)
    torch.nn.init.normal_(made.body[-1].weight, std=0.1)
    return made.eval()


def write_checkpoint(path: Path, made: Fast, **recipe: Any) -> Path:
    state = {
        "network": "fast", "network_options": made.options, "recipe": {"seed": 0} | recipe, "step": 3, "seconds": 1.0,
        "ema": made.state_dict(), "weights": made.state_dict(),
    }  # fmt: skip
    save_checkpoint(path, state)
    return path


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Networks this small only lose time to a second thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", autouse=True)
def _graphs_are_traced_once() -> Iterator[None]:
    """Tracing takes most of an export's time: the same weights give the same graph."""
    known: dict[bytes, onnx.ModelProto] = {}

    def remembered(network: nn.Module) -> onnx.ModelProto:
        key = pickle.dumps(
            [type(network).__name__, [tensor.numpy().tobytes() for tensor in network.state_dict().values()]]
        )
        if key not in known:
            known[key] = to_onnx(network)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model_export.export.to_onnx", remembered)
        yield


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("run") / "last.pt", network(), equalize_colors=True)


@pytest.fixture(scope="module")
def exported(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder, for tests that do not change it."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    assert main([str(checkpoint), "-o", str(folder), "--title", "Tiny", "Крошка", "--kind", "baseline"]) == 0
    return folder


def entry_of(folder: Path) -> dict[str, Any]:
    entry: dict[str, Any] = json.loads((folder / "manifest.json").read_text())["scales"]["2"]
    return entry


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def graph_of(folder: Path, kind: str) -> bytes:
    """The ONNX file ``kind`` of ``tiny``'s x2 as the service reads it."""
    variant = Registry.load([folder.parent]).find("tiny", 2)
    return variant.read(getattr(variant.entry.files, kind))


def test_an_exported_model_keeps_the_contract(exported: Path) -> None:
    entry = entry_of(exported)
    for kind in ("uint8", "float", "fp16"):
        data = (exported / entry["files"][kind]["file"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == entry["files"][kind]["sha256"]
    session = onnxruntime.InferenceSession(exported / "x2.onnx", providers=["CPUExecutionProvider"])
    for shape in ((1, 1, 1, 3), (2, 17, 33, 3)):
        image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        out = session.run(["upscaled"], {"image": image})[0]
        assert out.dtype == np.uint8
        assert out.shape == (shape[0], shape[1] * 2, shape[2] * 2, 3)
    # Stored in half precision: the reference must be rounded likewise to be compared.
    with torch.no_grad():
        rounded = network().half().float()
    image = one_bit_noise(64)
    np.testing.assert_allclose(session.run(None, {"image": image[None]})[0][0], torch_restorer(rounded)(image), atol=1)
    twin = onnxruntime.InferenceSession(graph_of(exported, "float"), providers=["CPUExecutionProvider"])
    out = twin.run(None, {"image": image[None].astype(np.float32) / 255})[0]
    assert out.dtype == np.float32
    assert out.min() >= 0
    assert out.max() <= 1
    assert np.abs(np.rint(out[0] * 255) - session.run(None, {"image": image[None]})[0][0]).max() <= 1


def test_weights_are_stored_once(exported: Path) -> None:
    files = entry_of(exported)["files"]
    whole = (exported / files["uint8"]["file"]).read_bytes()
    weights = files["float"]["continued"]
    assert files["fp16"]["continued"] == weights
    assert weights["end"] - weights["begin"] > len(whole) / 2
    for kind in ("float", "fp16"):
        assert files[kind]["file"] == f"x2.{kind}.head"
        graph = onnx.load_from_string(graph_of(exported, kind))
        onnx.checker.check_model(graph, full_check=True)
        given, taken = {tensor.name for tensor in graph.graph.initializer}, set()
        for node in graph.graph.node:
            taken |= {name for name in node.input if name}
            given |= set(node.output)
        assert taken <= given | {"image"}


def test_the_half_precision_file_takes_bytes_and_tells_whether_it_is_finite(exported: Path) -> None:
    session = onnxruntime.InferenceSession(graph_of(exported, "fp16"), providers=["CPUExecutionProvider"])
    image = one_bit_noise(64)
    upscaled, finite = session.run(["upscaled", "finite"], {"image": image[None]})
    assert finite.shape == ()
    assert finite
    assert np.abs(upscaled[0].astype(int) - torch_restorer(network())(image)).max() <= 1


def test_the_manifest_tells_every_precision(exported: Path) -> None:
    manifest = json.loads((exported / "manifest.json").read_text())
    assert manifest["title"] == {"en": "Tiny", "ru": "Крошка"}
    assert manifest["kind"] == "baseline"
    assert manifest["equalize_colors"] is True, "the recipe says so"
    entry = entry_of(exported)
    precisions = entry["precisions"]
    known = ("float32", "float16", "bfloat16", "int8")
    assert list(precisions) == [name for name in known if name not in entry["left_out"]]
    assert {"float32", "float16", "bfloat16"} <= set(precisions)
    assert ("int8" in entry["left_out"]) != ("int8" in entry["files"])
    for told in precisions.values():
        assert set(told["psnr"]) == set(entry["measured"]) == {"examples"}
        assert told["psnr"]["examples"] == pytest.approx(entry["measured"]["examples"]["psnr"], abs=0.1)
        assert set(told["largest_difference"]) == set(entry["parity"]["pictures"])
        assert 0 <= told["mean_difference"] <= max(told["largest_difference"].values())
    assert all(precisions["float32"]["largest_difference"][name] <= 1 for name in ("city", "dog", "kitten"))
    off = [precisions[name]["mean_difference"] for name in ("float32", "float16", "bfloat16")]
    assert off == sorted(off)


def test_only_the_precisions_that_are_asked_for_are_tried(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "a.pt", network())
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.open(EXAMPLES / "kitten.jpg").resize((96, 64)).save(photos / "kitten.png")
    where = ["-o", str(tmp_path / "models" / "tiny"), "--photos", str(photos)]
    assert main([str(checkpoint), *where, "--precisions"]) == 0
    entry = entry_of(tmp_path / "models" / "tiny")
    assert list(entry["precisions"]) == ["float32"]
    assert entry["left_out"] == dict.fromkeys(("float16", "bfloat16", "int8"), "it was not asked for")
    assert set(entry["files"]) == {"uint8", "float", "weights"}


def test_the_manifest_tells_what_was_blended_and_nothing_of_the_machine_s_folders(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "a.pt", network(), inputs=[str(tmp_path / "photos.pack"), "more"], epochs=2)
    state = load_checkpoint(path)
    save_checkpoint(path, blend(state, state["ema"], 0.25, "faithful/best.pt"))
    training = trained(parser().parse_args([str(path)])).training
    assert training["recipe"] == {"seed": 0, "inputs": ["photos.pack", "more"], "epochs": 2}
    assert training["blends"] == [{"with": "faithful/best.pt", "share": 0.25}]


def test_the_halo_holds_in_every_precision(exported: Path) -> None:
    entry = entry_of(exported)
    pictures = [*proving_set([]).values(), poster()]
    for kind, file in entry["files"].items():
        if kind == "weights":
            continue  # no graph
        model = graph_of(exported, kind) if kind != "int8" else (exported / file["file"]).read_bytes()
        restore = float_restorer(model) if kind == "float" else onnx_restorer(model)
        wholes = [(image, restore(image)) for image in pictures]
        assert halo_holds(restore, wholes, 2, entry["halo"]), kind


@pytest.mark.parametrize("half", [False, True])
def test_the_service_runs_it_in_either_precision(exported: Path, half: bool) -> None:
    registry = Registry.load([exported.parent])
    image = one_bit_noise(40)
    with Engine(registry, platform="cpu", threads=1) as engine:
        engine.device = dataclasses.replace(choose_device("cpu", 1), half=half)
        engine.warm("tiny", 2)
        upscaled = engine.graph(registry.find("tiny", 2), "uint8").run(image[None])[0]
    alone = onnx_restorer(graph_of(exported, "fp16" if half else "uint8"))
    np.testing.assert_array_equal(upscaled, alone(image))


def test_a_worse_model_is_refused_and_changes_nothing_unless_forced(
    checkpoint: Path, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "tiny"
    folder.mkdir()
    for name, content in bytes_of(exported).items():
        (folder / name).write_bytes(content)
    better = json.loads((folder / "manifest.json").read_text())
    better["scales"]["2"]["measured"]["examples"]["psnr"] += 0.05
    (folder / "manifest.json").write_text(json.dumps(better))
    before = bytes_of(folder)
    assert main([str(checkpoint), "-o", str(folder)]) == 3
    assert "nothing was changed, --force" in capsys.readouterr().err
    assert bytes_of(folder) == before
    assert main([str(checkpoint), "-o", str(folder), "--force"]) == 0
    after = json.loads((folder / "manifest.json").read_text())
    assert after["version"] == "1.0.1"
    assert after["title"] == {"en": "Tiny", "ru": "Крошка"}, "what people read stays"
    assert after["scales"]["2"]["measured"] == entry_of(exported)["measured"]


@pytest.mark.parametrize("answer", ["y", "n"])
def test_what_cannot_be_compared_is_asked_for_on_a_terminal(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    forced = []

    def fake(_: Source, wishes: Wishes) -> Path:
        forced.append(wishes.force)
        if not wishes.force:
            raise CannotTellError("cannot tell")
        return tmp_path

    monkeypatch.setattr("model_export.cli.export", fake)
    command = [str(checkpoint), "-o", str(tmp_path / "tiny")]
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    assert main(command) == 1
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _: answer)
    assert main(command) == (0 if answer == "y" else 1)
    assert forced == ([False, False, True] if answer == "y" else [False, False])


def test_weights_of_another_project_become_a_model(tmp_path: Path) -> None:
    state = msrresnet_state(2)
    state["conv_last.weight"] *= 0.1
    torch.save({"params": state}, tmp_path / "other.pth")
    assert main(["--from-pth", str(tmp_path / "other.pth"), "-o", str(tmp_path / "other")]) == 0
    manifest = json.loads((tmp_path / "other" / "manifest.json").read_text())
    assert manifest["architecture"] == {"network": "MSRResNet", "blocks": 2, "filters": 6}
    assert manifest["licence"] == "LicenseRef-unknown"
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    exact = msrresnet(state, torch.tensor(image).permute(2, 0, 1)[None] / 255.0, 2).clamp(0, 1)[0].permute(1, 2, 0)
    upscaled = onnx_restorer(tmp_path / "other" / "x2.onnx")(image)
    assert np.abs(upscaled - exact.numpy() * 255.0).max() <= 1
    assert Registry.load([tmp_path]).find("other", 2).entry.served_precisions == ["float32", "float16", "bfloat16"]


class Odd(nn.Module):
    """A network with whatever is wrong about it."""

    def __init__(self, *, served_shift: float = 0.0, radius: float = 1.0) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 12, 3, padding=1)
        self.second = nn.Conv2d(12, 12, 3, padding=1)
        self.receptive_field_radius = radius
        self.shift = 0.0
        self.served_shift = served_shift

    def for_serving(self) -> nn.Module:
        self.shift = self.served_shift
        return self

    def forward(self, image: Tensor) -> Tensor:
        return F.pixel_shuffle(self.second(self.first(image)), 2) + self.shift


@pytest.mark.parametrize(
    ("odd", "name", "scale", "sentence"),
    [
        (Odd(served_shift=1 / 255), "tiny", 2, "served form differs from the network by"),
        (Odd(radius=1.0), "tiny", 2, "tiles cut with the receptive field's radius, 1 px, differ"),
        (Odd(), "Tiny!", 2, "'Tiny!' cannot be a model's name"),
        (Odd(), "tiny", 3, "enlarges 3 times"),
    ],
    ids=["another function", "a wider view", "name", "scale"],
)
def test_what_cannot_be_proved_is_not_written(tmp_path: Path, odd: Odd, name: str, scale: int, sentence: str) -> None:
    with pytest.raises(ExportError, match=sentence):
        export(Source(odd.eval(), scale, {"network": "odd"}, {}), Wishes(tmp_path / name))
    assert not list(tmp_path.iterdir())


def test_equal_slopes_are_served_as_leaky_relu() -> None:
    layers = nn.Sequential(nn.PReLU(4), nn.PReLU(4), nn.Sequential(nn.PReLU()))
    with torch.no_grad():
        layers[0].weight.copy_(torch.tensor([0.1, 0.1, 0.2, 0.1]))
    served = served_form(layers)
    image = torch.randn(1, 4, 5, 5)
    torch.testing.assert_close(served(image), layers(image))
    assert [type(each) for each in (served[0], served[1], served[2][0])] == [nn.PReLU, nn.LeakyReLU, nn.LeakyReLU]
    assert isinstance(layers[1], nn.PReLU), "a copy"


def test_words_given_win_over_shipped_ones_over_those_that_stood_there() -> None:
    present = {"title": {"en": "Old", "ru": "Старая"}, "kind": "perceptual", "licence": "MIT"}
    assert Words().over("mine", present)["title"] == present["title"]
    assert Words().over("mine", present)["licence"] == "MIT"
    assert Words().over("fast", present)["title"] == {"en": "Fast", "ru": "Быстрая"}
    words = Words(title=["New"], description=["A.", "Б."], kind="restoration").over("mine", present)
    assert words["title"] == {"en": "New", "ru": "New"}
    assert words["description"] == {"en": "A.", "ru": "Б."}
    assert words["kind"] == "restoration"
    assert Words().over("mine", {})["kind"] == "fidelity"


def test_a_second_scale_keeps_the_first_and_the_version() -> None:
    common = {"words": Words(), "architecture": {}, "equalize_colors": False}
    one = merge_scale({}, "tiny", 4, {"halo": 1}, **common)
    two = merge_scale(one, "tiny", 2, {"halo": 2}, **common)
    assert two["scales"] == {"2": {"halo": 2}, "4": {"halo": 1}}
    assert (one["version"], two["version"]) == ("1.0.0", "1.0.0")
    assert merge_scale(two, "tiny", 4, {"halo": 3}, **common)["version"] == "1.0.1"


def test_multiply_adds_of_a_known_network() -> None:
    expected = 9 * (3 * 12 + 12 * 12 + 12 * 12 + 12 * 12)
    assert multiply_adds(network(scale=2)) == expected


def doubled(image: Image8) -> Image8:
    """Twice as large, every pixel four times."""
    return image.repeat(2, axis=0).repeat(2, axis=1)


def test_what_shows_on_a_poster_alone_widens_the_halo(tmp_path: Path) -> None:
    """As in ``restore`` at x4, where 19 px were enough for 200 px of graphics."""

    def restore(image: Image8) -> Image8:
        """Enlarges, but paints the inside of large black shapes green: what is black for ``reach`` px."""
        black = maximum_filter(image, size=(2 * reach + 1, 2 * reach + 1, 3))[..., 1:2] == 0
        painted = np.where(black, np.uint8([0, 255, 0]), image)
        return doubled(painted)

    reach = 30
    small = {"graphics": graphics()}
    assert measured_halo(restore, small.values(), 2, radius=reach) == 1
    precision = Precision(tmp_path, restore, Difference({}, 0.0), {})
    halo = common_halo({"float32": precision}, {}, small, 2, radius=reach)
    assert halo > 1
    assert halo_holds(restore, [(poster(), restore(poster()))], 2, halo)


@pytest.mark.parametrize(("radius", "halo"), [(5.0, 5), (4.5, 5), (6.0, 4)])
def test_a_halo_near_the_radius_becomes_the_radius(tmp_path: Path, radius: float, halo: int) -> None:
    """A pixel more is exact for every picture; two are left to be saved."""

    def restore(image: Image8) -> Image8:
        return doubled(maximum_filter(image, size=(7, 7, 1)))

    pictures = {"noise": one_bit_noise(90) & one_bit_noise(90, seed=3) & one_bit_noise(90, seed=4)}
    assert measured_halo(restore, pictures.values(), 2, radius) == 4
    precision = Precision(tmp_path, restore, Difference({}, 0.0), {})
    assert common_halo({"float32": precision}, {}, pictures, 2, radius) == halo


def test_a_halo_smaller_than_the_measured_one_shows_seams() -> None:
    restore = torch_restorer(network(layers=5))
    pictures = proving_set([])
    halo = measured_halo(restore, pictures.values(), 2, radius=5)
    wholes = [(image, restore(image)) for image in pictures.values()]
    assert 1 <= halo <= 5
    assert halo_holds(restore, wholes, 2, halo)
    assert not halo_holds(restore, wholes, 2, 0)


def test_the_srvgg_layout_computes_the_same() -> None:
    made = network(scale=4)
    state = to_srvgg(made)
    image = torch.rand(1, 3, 20, 24)
    out = image
    for index in range(len(made.body)):
        out = (
            F.conv2d(out, state[f"body.{index}.weight"], state[f"body.{index}.bias"], padding=1)
            if f"body.{index}.bias" in state
            else F.prelu(out, state[f"body.{index}.weight"])
        )
    out = F.pixel_shuffle(out, 4) + F.interpolate(image, scale_factor=4, mode="nearest")
    torch.testing.assert_close(out, made(image))
    assert state["body.1.weight"].unique().tolist() == pytest.approx([NEGATIVE_SLOPE])


def test_a_network_with_the_same_tensors_that_computes_something_else_is_not_written_as_srvgg() -> None:
    with pytest.raises(TypeError, match="not Dilated"):
        to_srvgg(Dilated(layers=3, filters=4))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["CHECKPOINT"], "-o DIR"),
        (["-o", "x"], "say what to export"),
        (["CHECKPOINT", "--from-pth", "b.pth", "-o", "x"], "say what to export"),
        (["CHECKPOINT", "-o", "x", "--title", "My", "new", "model"], "--title takes"),
    ],
)
def test_say_what_and_where_to_or_be_told(
    capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert sentence in capsys.readouterr().err


def test_a_missing_file_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "no.pt"), "-o", "x"]) == 1
    assert main(["--from-pth", str(tmp_path / "no.pth"), "-o", "x"]) == 1
    assert [line.split(": ")[0] for line in capsys.readouterr().err.splitlines()] == ["chetko-export"] * 2


def test_training_goes_on_from_an_exported_model(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    assert main([str(checkpoint), "-o", str(folder)]) == 0
    told = json.loads((folder / "manifest.json").read_text())["scales"]["2"]["files"]["weights"]
    assert hashlib.sha256((folder / told["file"]).read_bytes()).hexdigest() == told["sha256"]
    exported = network()
    fresh = Fast(2, 4, 12)
    taken, left = take_matching(fresh, initial_weights(folder, 2))
    assert (len(taken), left) == (8, [])
    for mine, theirs in zip(fresh.parameters(), exported.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)
    # x4 starts from it too, its last layer with each sub-pixel repeated.
    taken, left = take_matching(Fast(4, 4, 12), initial_weights(folder, 4))
    assert (len(taken), left) == (8, [])
    with pytest.raises(CheckpointError, match=r"no x4\.safetensors"):
        initial_weights(tmp_path, 4)
