"""Photographs to batches: patches of HR pictures with their degraded LR, seeded so that any step can be redrawn."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training import jpeg
from training.ahead import ahead, usable_cpus
from training.crops import MappedCrops, ResidentCrops, Window, inner_patches, to_device
from training.degradation import Degradation, shrinking_taps, shrunk
from training.pack import Pack, PackError, PackWriter, Progress
from training.photo_files import PhotoError
from training.photos import Photos
from training.resize import shrink

DEVICE_SHARE = 0.5
"""Of the device's free memory, what pictures may take; the rest is left to the network and its activations."""
ANNOUNCED = 2  # steps whose pictures are decoded ahead, where they are read from files
CPU = torch.device("cpu")
NONE = Degradation()
TRIES = 100  # unreadable or too small pictures in a row before a folder is given up


@dataclass(frozen=True, slots=True)
class Batch:
    """``small`` (N, 3, e, e) and ``large`` (N, 3, scale*e, scale*e): float32 RGB in [0, 1], whole 8-bit levels / 255,
    channels_last, on the device. ``pictures``: the name of each row's photograph."""

    small: Tensor
    large: Tensor
    pictures: list[str]


@dataclass(frozen=True, slots=True)
class Row:
    """All that is drawn for one row of a batch. ``top`` and ``left`` in LR pixels, ``turn`` as in ``crops``."""

    picture: int
    top: int
    left: int
    turn: int
    noise: int  # seed of its noise
    quality: int  # of its JPEG, 0 where there is none


class Patches:
    """Random aligned LR/HR patches of ``photos``, flipped and turned in all eight ways, the LR degraded.

    Pictures are drawn without replacement, pass after pass; ``patches`` patches come from a picture before another is
    drawn, also across batches. A batch is a function of (seed, step, rank, world) alone: a resumed run sees exactly
    what the uninterrupted one would have seen, and rank r of ``world`` processes sees rows rB..rB+B of the batch that
    one process with ``world`` times the batch size would see.

    The LR patch equals the same place of the whole picture's LR (``resize.shrink``), with blur to one level. On a GPU a
    pack that fits (``DEVICE_SHARE``) lies there as a whole; otherwise patches are cut on the host.

    ``patch_size`` in HR pixels. Raises ``ValueError`` where it is not a multiple of ``scale``, or no picture is that
    large. ``batch`` may be called from any one thread at a time.
    """

    def __init__(
        self, photos: Photos, scale: int, *, patch_size: int, batch_size: int, patches: int = 1, seed: int = 0,
        degradation: Degradation = NONE, device: torch.device = CPU,
        rank: int = 0, world: int = 1, say: Callable[[str], None] = print,
    ) -> None:  # fmt: skip
        if patch_size % scale:
            raise ValueError(f"the patch size ({patch_size} HR pixels) must be a multiple of the scale ({scale})")
        if min(patch_size, batch_size, patches) < 1 or seed < 0:
            raise ValueError("patch size, batch size and patches are at least 1, and the seed is not negative")
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", torch.cuda.current_device())  # another thread's current device is cuda:0
        self.photos = photos
        self._names = photos.names
        self.scale = scale
        self.edge = patch_size // scale
        self.batch_size = batch_size
        self.patches = patches
        self.seed = seed
        self.degradation = degradation
        self.device = device
        self._first_row = rank * batch_size
        self._rows_per_step = world * batch_size
        self._usable = self._large_enough(say)
        self._order = lru_cache(maxsize=4)(self._pass_order)
        self._taps, self._reach = shrinking_taps(scale, degradation.blur)

        small = low_resolution(photos, scale, say) if isinstance(photos, Pack) and not degradation.blur else None
        self._large: MappedCrops | ResidentCrops
        self._small: MappedCrops | ResidentCrops | None
        if isinstance(photos, Pack) and _fits([photos, *([small] if small else [])], device, say):
            self._large = ResidentCrops(photos, scale, device)
            self._small = ResidentCrops(small, 1, device) if small else None
        else:
            self._large = MappedCrops(photos, scale, device)
            self._small = MappedCrops(small, 1, device) if small else None
        self._picture(0)  # a folder without a usable picture is better refused now

    def _large_enough(self, say: Callable[[str], None]) -> npt.NDArray[np.intp]:
        """Numbers of the pictures to draw from. Of files only decoding tells: those are passed over when drawn."""
        if not isinstance(self.photos, Pack):
            return np.arange(len(self.photos))
        usable = [i for i, e in enumerate(self.photos.entries) if min(e.height, e.width) // self.scale >= self.edge]
        if not usable:
            raise ValueError(f"no picture is at least {self.edge * self.scale} pixels wide and high")
        if len(usable) < len(self.photos):
            say(f"{len(self.photos) - len(usable):,} pictures are smaller than a patch and are not used")
        return np.array(usable)

    def _pass_order(self, number: int) -> npt.NDArray[np.intp]:
        return np.random.default_rng((self.seed, 0, number)).permutation(self._usable)

    def _drawn(self, slot: int) -> int:
        """The picture that is drawn ``slot``-th."""
        number, place = divmod(slot, len(self._usable))
        return int(self._order(number)[place])

    def _candidates(self, slot: int) -> Iterator[int]:
        """The picture drawn ``slot``-th, and those that are drawn in its place should it not do."""
        yield self._drawn(slot)
        again = np.random.default_rng((self.seed, 1, slot))
        while True:
            yield int(again.choice(self._usable))

    def _picture(self, slot: int) -> tuple[int, tuple[int, int]]:
        """The ``slot``-th usable picture and its LR (height, width)."""
        for picture in itertools.islice(self._candidates(slot), TRIES):
            with suppress(PhotoError):  # reported by PhotoFiles
                height, width, _ = self.photos[picture].shape
                if min(height, width) // self.scale >= self.edge:
                    return picture, (height // self.scale, width // self.scale)
        raise ValueError(f"no picture is at least {self.edge * self.scale} pixels wide and high ({TRIES} were tried)")

    def _row(self, number: int) -> Row:
        """Draws row ``number`` of the run. The order of draws is fixed, so that an option changes nothing else."""
        picture, (height, width) = self._picture(number // self.patches)
        random = np.random.default_rng((self.seed, 2, number))
        top = int(random.integers(height - self.edge + 1))
        left = int(random.integers(width - self.edge + 1))
        turn, noise = int(random.integers(8)), int(random.integers(1 << 63))
        qualities = self.degradation.jpeg
        return Row(picture, top, left, turn, noise, int(random.choice(qualities)) if qualities else 0)

    def rows(self, step: int) -> list[Row]:
        """What is drawn for step ``step``."""
        first = step * self._rows_per_step + self._first_row
        return [self._row(first + row) for row in range(self.batch_size)]

    def _announce(self, step: int) -> None:
        first = step * self._rows_per_step + self._first_row
        slots = range(first // self.patches, (first + self.batch_size - 1) // self.patches + 1)
        self.photos.expect(self._drawn(slot) for slot in slots)

    @torch.no_grad()
    def batch(self, step: int) -> Batch:
        """Step ``step``'s batch. On a GPU only queued there: nothing waits for the device."""
        for later in range(step, step + ANNOUNCED + 1):
            self._announce(later)
        rows, scale = self.rows(step), self.scale
        places = [Window(row.picture, row.top * scale, row.left * scale, row.turn) for row in rows]
        large = self._large.cut(places, self.edge * scale).permute(0, 3, 1, 2)
        return Batch(_to_unit(self._degraded(rows)), _to_unit(large), [self._names[row.picture] for row in rows])

    def _degraded(self, rows: list[Row]) -> Tensor:
        """The rows' LR patches (N, 3, edge, edge), whole levels 0..255."""
        if self._small and not self.degradation.noise and not self.degradation.jpeg:
            places = [Window(row.picture, row.top, row.left, row.turn) for row in rows]
            return self._small.cut(places, self.edge).permute(0, 3, 1, 2)
        # JPEG: as if the whole LR had been saved, so that the patch may begin anywhere in the codec's grid.
        grid = jpeg.MCU if self.degradation.jpeg else 1
        outer = -(-(self.edge + grid - 1) // grid) * grid
        corners = [(row.top - row.top % grid, row.left - row.left % grid) for row in rows]
        if self._small:
            places = [Window(row.picture, top, left) for row, (top, left) in zip(rows, corners, strict=True)]
            levels = self._small.cut(places, outer).permute(0, 3, 1, 2).float()
        else:
            places = [
                Window(row.picture, top * self.scale + self._reach, left * self.scale + self._reach)
                for row, (top, left) in zip(rows, corners, strict=True)
            ]
            region = self._large.cut(places, (outer - 1) * self.scale + len(self._taps))
            levels = shrunk(region.permute(0, 3, 1, 2).float(), self._taps, self.scale)
        drawn = to_device(np.array([(row.noise, row.quality) for row in rows]), self.device)
        levels = self.degradation.after_shrinking(levels, drawn[:, 0], drawn[:, 1])
        inner = [
            Window(0, row.top - top, row.left - left, row.turn) for row, (top, left) in zip(rows, corners, strict=True)
        ]
        return inner_patches(levels, inner, self.edge).contiguous(memory_format=torch.channels_last)

    def batches(self, first: int, *, depth: int = 2) -> Iterator[Batch]:
        """Steps ``first``, ``first`` + 1, ... without end, each prepared in a thread while those before are used.

        Close the iterator (``contextlib.closing``) to end the thread.
        """
        return ahead(self.batch, itertools.count(first), depth=depth, threads=1)


def _to_unit(levels: Tensor) -> Tensor:
    """0..255 -> float32 in [0, 1]."""
    if levels.device.type == "cpu":
        # By numpy: torch would spread this over its threads, which belong to the training step.
        return torch.from_numpy(np.divide(levels.numpy(), np.float32(255.0), dtype=np.float32))
    return levels.float().div_(255.0)


def _fits(packs: list[Pack], device: torch.device, say: Callable[[str], None]) -> bool:
    """Whether the pictures of ``packs`` may lie on ``device``; says so where they may not."""
    if device.type != "cuda":
        return False
    size = sum(3 * entry.height * entry.width for pack in packs for entry in pack.entries)
    free, _ = torch.cuda.mem_get_info(device)
    if size > DEVICE_SHARE * free:
        say(
            f"{size / 1e9:.1f} GB of pictures do not fit into {DEVICE_SHARE:.0%} of the device's {free / 1e9:.1f} GB "
            f"free memory: patches are cut on the host"
        )
        return False
    return True


def low_resolution(photos: Pack, scale: int, say: Callable[[str], None] = print) -> Pack | None:
    """The LR of every picture in ``photos``, made by the protocol and kept beside the pack as ``FILE.x<scale>``.

    Where that folder cannot be written to, it is kept in the pack's ``spare`` folder; ``None`` where neither can.
    """
    for folder in (photos.path.parent, photos.spare):
        if folder is not None:
            with suppress(PackError):
                return _extended(photos, scale, folder / f"{photos.path.name}.x{scale}", say)
    return None


def _extended(photos: Pack, scale: int, path: Path, say: Callable[[str], None]) -> Pack:
    """``photos``' LR in the pack at ``path``, after adding what it lacks. Raises ``PackError``."""
    wanted = [(entry.name, entry.source) for entry in photos.entries]
    with suppress(OSError, PackError):
        small = Pack(path).select(wanted)
        if len(small) == len(wanted):
            return small  # also where nothing can be written
    with PackWriter(path, say=say) as pack:
        held = {(entry.name, entry.source) for entry in pack.entries}
        missing = [index for index, key in enumerate(wanted) if key not in held]
        progress = Progress("shrunk", len(missing), say)
        made = ahead(lambda index: shrink(photos[index], scale), missing, depth=2 * usable_cpus())
        for done, (index, pixels) in enumerate(zip(missing, made, strict=True), 1):
            pack.add(*wanted[index], pixels)
            progress.tell(done)
    return Pack(path).select(wanted)
