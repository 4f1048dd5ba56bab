"""What can be measured: shipped models by name, model folders, ONNX files, checkpoints, classical methods."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from training.checkpoint import CheckpointError, load_checkpoint, network_of, of_a_run
from training.evaluation.classical import CLASSICAL, restorer_of
from training.evaluation.restore import Restorer, bicubic_restorer, onnx_restorer, torch_restorer

SHIPPED = Path(__file__).parents[2] / "app" / "models"
BICUBIC = "bicubic"


@dataclass(frozen=True)
class Method:
    """A way to enlarge pictures ``scale`` times."""

    name: str
    """Short, for commands and files."""
    title: str
    """As a person reads it: it says what the method is."""
    restore: Restorer


def bicubic(scale: int) -> Method:
    """MATLAB's bicubic enlargement: the row that proves the protocol."""
    return Method(BICUBIC, "bicubic", bicubic_restorer(scale))


def method_named(name: str, scale: int) -> Method:
    """The method of a command's argument: a path, or else the name of a shipped model or of a classical method.

    Raises ``CheckpointError`` when there is no such method at this scale.
    """
    path = Path(name)
    if path.suffix == ".pt":
        return _checkpoint(path, scale)
    if path.is_dir():
        return _folder(path, scale)
    if path.suffix == ".onnx":
        if not path.is_file():
            raise CheckpointError(f"{path} does not exist")
        return Method(path.stem, path.stem, onnx_restorer(path))
    if name == BICUBIC:
        return bicubic(scale)
    if name in CLASSICAL:
        return Method(name, CLASSICAL[name].title, restorer_of(name, scale))
    if (SHIPPED / name).is_dir() and path.parent == Path():
        return _folder(SHIPPED / name, scale)
    raise CheckpointError(f"{name} does not exist, and is none of {', '.join([BICUBIC, *shipped_names(), *CLASSICAL])}")


def methods_named(names: Sequence[str], scale: int) -> list[Method]:
    """``method_named`` of each; two that would bear one name, such as checkpoints of one run, bear their paths."""
    found = [method_named(name, scale) for name in names]
    times = Counter(method.name for method in found)
    return [
        method if times[method.name] == 1 else replace(method, name=name, title=name)
        for name, method in zip(names, found, strict=True)
    ]


def shipped_names() -> list[str]:
    """The models in the repository, in the order in which a table shows them: baselines first, then by quality."""
    manifests = [json.loads(path.read_text("utf-8")) for path in SHIPPED.glob("[a-z0-9]*/manifest.json")]
    return [manifest["name"] for manifest in sorted(manifests, key=_rank)]


def _rank(manifest: dict[str, object]) -> tuple[bool, bool, float, str]:
    """Sorts baselines before fidelity before the others, each by its PSNR on the repository's examples at its largest
    scale: at x2 every model is better than any is at x4."""
    scales = manifest["scales"]
    psnr = scales[max(scales, key=int)]["measured"]["examples"]["psnr"]
    return manifest["kind"] != "baseline", manifest["kind"] not in ("baseline", "fidelity"), psnr, str(manifest["name"])


def _checkpoint(path: Path, scale: int) -> Method:
    state = load_checkpoint(path)
    if state["network_options"]["scale"] != scale:
        raise CheckpointError(f"{path} enlarges x{state['network_options']['scale']}, not x{scale}")
    # A run calls its files alike; what was made by hand has a name of its own.
    name = path.resolve().parent.name if of_a_run(path) else path.stem
    return Method(name, name, torch_restorer(network_of(state)))


def _folder(folder: Path, scale: int) -> Method:
    path = folder / f"x{scale}.onnx"
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist")
    name = folder.resolve().name
    manifest = folder / "manifest.json"
    title = json.loads(manifest.read_text("utf-8"))["title"]["en"] if manifest.is_file() else name
    return Method(name, title, onnx_restorer(path))
