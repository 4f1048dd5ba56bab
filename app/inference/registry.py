"""Which models there are, and their files."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.inference.errors import BrokenModelError, UnknownModelError, UnknownScaleError
from app.inference.manifest import MANIFEST, Manifest, ModelFile, ScaleEntry, read_manifest

SHIPPED = Path(__file__).parent.parent / "models"


def model_folders(extra: Path | None = None) -> list[Path]:
    """The folder of shipped models, then the operator's own, where there is one (``CHETKO_MODELS_DIR``)."""
    return [SHIPPED] if extra is None else [SHIPPED, extra]


@dataclass(frozen=True)
class Variant:
    """One model at one scale."""

    manifest: Manifest
    scale: int
    entry: ScaleEntry
    folder: Path

    def read(self, file: ModelFile) -> bytes:
        """One of its files, whole: what was read of the folder for it has the manifest's sha256.

        Raises BrokenModelError when a file is missing or is not the one that the manifest describes.
        """
        content = self._content(file)
        if file.continued is not None:
            content += self._content(self.entry.files.uint8)[file.continued.begin : file.continued.end]
        return content

    def _content(self, file: ModelFile) -> bytes:
        path = self.folder / file.file
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BrokenModelError(f"{path} cannot be read: {error.strerror}.") from error
        found = hashlib.sha256(content).hexdigest()
        if found != file.sha256:
            raise BrokenModelError(
                f"{path} is not the file that its manifest describes: sha256 {found} instead of {file.sha256}; "
                "export or copy the model again."
            )
        return content


class Registry:
    """The models found in some folders. Manifests are read once; model files are read when they are
    needed."""

    def __init__(self, models: Iterable[tuple[Manifest, Path]]) -> None:
        self._models = {manifest.name: (manifest, folder) for manifest, folder in models}

    @classmethod
    def load(cls, folders: Sequence[Path]) -> Registry:
        """Reads every ``FOLDER/NAME/manifest.json``; names that start with ``_`` or ``.`` are skipped.

        Raises BrokenModelError, naming the file, for a folder that does not exist, a model folder without a
        readable manifest, a file that the manifest names and that is not there, and two models of one name.
        """
        found: dict[str, tuple[Manifest, Path]] = {}
        for place in folders:
            if not place.is_dir():
                raise BrokenModelError(f"{place} is not a folder of models.")
            for folder in sorted(place.iterdir()):
                if folder.name.startswith(("_", ".")) or not folder.is_dir():
                    continue
                manifest = read_manifest(folder / MANIFEST)
                _check_files_exist(manifest, folder)
                if manifest.name in found:
                    other = found[manifest.name][1]
                    raise BrokenModelError(f"{other} and {folder} are both called {manifest.name!r}: rename one.")
                found[manifest.name] = (manifest, folder)
        return cls(found.values())

    def models(self) -> list[Manifest]:
        """All manifests, by name."""
        return [self._models[name][0] for name in sorted(self._models)]

    def has(self, variant: Variant) -> bool:
        """Whether ``variant``, found in this or another registry, is here with the very same files."""
        manifest, folder = self._models.get(variant.manifest.name, (None, None))
        return manifest is not None and folder == variant.folder and manifest.scales.get(variant.scale) == variant.entry

    @property
    def default(self) -> str:
        """The model that is used when none is named: one whose manifest says ``default`` (of several, the one
        found last: an operator's folder comes after the shipped one), else the first by name."""
        chosen = [name for name, (manifest, _) in self._models.items() if manifest.default]
        if chosen:
            return chosen[-1]
        if not self._models:
            raise UnknownModelError("No model is installed: export one, or set CHETKO_MODELS_DIR.")
        return min(self._models)

    def find(self, name: str | None, scale: int) -> Variant:
        """The model ``name`` (None: the default one) at ``scale``.

        Raises UnknownModelError or UnknownScaleError, which list what there is.
        """
        manifest, folder = self._found(name)
        name = manifest.name
        if scale not in manifest.scales:
            scales = _listed([str(each) for each in sorted(manifest.scales)])
            raise UnknownScaleError(f"The model {name!r} does not enlarge {scale} times; it has the scales {scales}.")
        return Variant(manifest, scale, manifest.scales[scale], folder)

    def passes(self, name: str | None, factor: float) -> tuple[Variant, ...]:
        """The model ``name`` (None: the default one) at the scale or the two scales, one after the other, that enlarge
        at least ``factor`` times, and no more than they must.

        Raises UnknownModelError, or UnknownScaleError where two passes are not enough.
        """
        manifest, _ = self._found(name)
        scales = sorted(manifest.scales, reverse=True)
        ways: list[tuple[int, ...]] = [(scale,) for scale in scales if scale >= factor]
        if not ways:
            # The larger one first: the second pass has the more pixels to go through the cheaper network.
            ways = [(one, two) for one in scales for two in scales if one >= two and one * two >= factor]
        if not ways:
            raise UnknownScaleError(
                f"The model {manifest.name!r} enlarges up to {scales[0] ** 2} times, in two passes, "
                f"not {factor:.4g} times."
            )
        best = min(ways, key=lambda way: (math.prod(way), way[-1]))
        return tuple(self.find(manifest.name, scale) for scale in best)

    def _found(self, name: str | None) -> tuple[Manifest, Path]:
        if name is None:
            name = self.default
        if name not in self._models:
            raise UnknownModelError(f"There is no model {name!r}; there is {_listed(sorted(self._models))}.")
        return self._models[name]


def _check_files_exist(manifest: Manifest, folder: Path) -> None:
    for entry in manifest.scales.values():
        for file in (entry.files.uint8, entry.files.float, entry.files.fp16):
            if file is not None and not (folder / file.file).is_file():
                raise BrokenModelError(f"{folder / file.file} is missing, and {folder / MANIFEST} names it.")


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]])) if names else "none"
