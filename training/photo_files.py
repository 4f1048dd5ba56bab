"""Photographs as they lie on disk: found in a fixed order, read as upright 8-bit RGB, decoded ahead, kept a while."""

from __future__ import annotations

import os
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Lock

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from training.ahead import usable_cpus

Pixels = npt.NDArray[np.uint8]
Found = tuple[str, Path]
"""A picture's name in reports (``FOLDER/path inside it``, or the file's name) and its file."""

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"}
KEEP_BYTES = 512 << 20
"""Decoded pictures that ``PhotoFiles`` keeps: some 580 of MS COCO, 25 of 7 megapixels."""


class PhotoError(Exception):
    """Photographs that cannot be read; the message says which file and why."""


def find_pictures(inputs: Iterable[Path]) -> list[Found]:
    """Every picture file in ``inputs``, each once: inputs as given, folders recursively and sorted by path.

    The order never depends on the file system. Links to folders are followed, once each. Raises ``PhotoError`` for an
    input that does not exist.
    """
    inputs = list(dict.fromkeys(Path(os.path.abspath(given)) for given in inputs))  # noqa: PTH100  (keeps links' names)
    alike = Counter(given.name for given in inputs)
    found: dict[Path, str] = {}
    for given in inputs:
        # Two folders called "train" would otherwise give their pictures the same names.
        label = given.name if alike[given.name] == 1 else given.as_posix()
        if given.is_dir():
            for path in sorted(_picture_files(given), key=lambda path: path.as_posix()):
                found.setdefault(path, f"{label}/{path.relative_to(given).as_posix()}")
        elif given.is_file():
            found.setdefault(given, label)
        else:
            raise PhotoError(f"{given} does not exist")
    return [(name, path) for path, name in found.items()]


def _picture_files(folder: Path) -> Iterator[Path]:
    entered = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        status = Path(place).stat()
        if (status.st_dev, status.st_ino) in entered:  # a link back up would go round for ever
            folders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        folders.sort()  # which of two links to one folder is entered must not depend on the file system
        yield from (Path(place, name) for name in files if os.path.splitext(name)[1].lower() in SUFFIXES)  # noqa: PTH122


def read_rgb(path: Path) -> Pixels:
    """The picture at ``path``, upright by its EXIF orientation, as (H, W, 3) uint8; of an animation its first frame.

    16-bit grey is scaled to 8 bit, transparency laid over white; colour profiles are not applied. Raises ``PhotoError``
    for whatever cannot be decoded whole: a truncated file is an error, not a half-grey picture.
    """
    try:
        with Image.open(path) as image:
            return _to_rgb(ImageOps.exif_transpose(image))
    except Exception as error:  # a damaged file makes Pillow raise whatever its parser stumbled over
        raise PhotoError(f"{path}: {error}") from error


def _to_rgb(image: Image.Image) -> Pixels:
    if image.mode.startswith("I;16"):  # Pillow's own conversion clips at 255
        grey = np.floor(np.asarray(image).astype(np.float32) / 257.0 + 0.5).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode in {"I", "F"}:
        raise ValueError(f"pixels of mode {image.mode} have no known range")
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return np.asarray(image.convert("RGB"))


def header_size(path: Path) -> tuple[int, int]:
    """(height, width) as the header says, before any EXIF rotation; no pixel is decoded. Raises ``PhotoError``."""
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except Exception as error:  # as in read_rgb
        raise PhotoError(f"{path}: {error}") from error


class PhotoFiles:
    """Pictures decoded when they are asked for, for collections that are too large to be packed unasked.

    ``photos[i]`` is (H, W, 3) uint8. The pictures last asked for are kept, up to ``keep`` bytes; those announced with
    ``expect`` are decoded ahead, one thread per CPU. May be used from several threads. A picture that cannot be
    decoded is reported once through ``say`` and raises ``PhotoError`` each time it is asked for.
    """

    def __init__(self, pictures: list[Found], *, say: Callable[[str], None], keep: int = KEEP_BYTES) -> None:
        self.names = [name for name, _ in pictures]
        self._paths = [path for _, path in pictures]
        self._say = say
        self._keep = keep
        self._lock = Lock()
        self._pictures: OrderedDict[int, Future[Pixels]] = OrderedDict()  # last asked for comes last
        self._held = 0  # bytes of those that are decoded
        self._reported: set[int] = set()
        self._pool = ThreadPoolExecutor(usable_cpus(), thread_name_prefix="decode")

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Pixels:
        try:
            return self._begin(index).result()
        except PhotoError as error:
            with self._lock:
                known = index in self._reported
                self._reported.add(index)
            if not known:
                self._say(f"skipped {error}")
            raise

    def expect(self, upcoming: Iterable[int]) -> None:
        """Begins to decode the pictures that will be asked for next, as far as there is room to keep them."""
        for index in upcoming:
            if self._held >= self._keep:
                return
            self._begin(index)

    def _begin(self, index: int) -> Future[Pixels]:
        with self._lock:
            future = self._pictures.get(index)
            if future is not None:
                self._pictures.move_to_end(index)
                return future
            future = self._pictures[index] = self._pool.submit(read_rgb, self._paths[index])
        future.add_done_callback(self._make_room)
        return future

    def _make_room(self, decoded: Future[Pixels]) -> None:
        with self._lock:
            self._held += _bytes_of(decoded)
            for index, future in list(self._pictures.items()):
                if self._held <= self._keep:
                    return
                if future.done() and future is not decoded:
                    self._held -= _bytes_of(self._pictures.pop(index))


def _bytes_of(decoded: Future[Pixels]) -> int:
    return 0 if decoded.exception() else decoded.result().nbytes
