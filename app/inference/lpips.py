"""LPIPS: how different two pictures look to people. For evaluations; no model of the registry."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from app.imaging.picture import Pixels
from app.inference.cpus import usable_cpus
from app.inference.device import Device, choose_device
from app.inference.errors import BrokenModelError
from app.inference.registry import SHIPPED

FOLDER = SHIPPED / "_lpips"
SMALLEST = 31
"""Pixels of height and width under which LPIPS is not defined: AlexNet's second pooling has nothing left."""


class Lpips:
    """LPIPS 0.1 on AlexNet (R. Zhang et al., CVPR 2018), as ``chetko-export --lpips`` wrote it; on the CPU.

    Guaranteed to be within 0.001 of the torch implementation. Any number of threads may measure at once.
    """

    def __init__(self, model: bytes, device: Device) -> None:
        self._session = device.session(model)

    @classmethod
    def load(cls, folder: Path = FOLDER, *, threads: int | None = None) -> Lpips:
        """Reads the file in ``folder``; ``threads`` of one measurement (None: all usable cores). Takes 0.1 s.

        Raises BrokenModelError when the file is missing or is not the one that its manifest describes.
        """
        try:
            told = json.loads((folder / "manifest.json").read_bytes())["files"]["uint8"]
            content = (folder / told["file"]).read_bytes()
        except OSError as error:
            raise BrokenModelError(f"{error.filename} cannot be read: {error.strerror}.") from error
        except (ValueError, KeyError, TypeError) as error:
            raise BrokenModelError(f"{folder / 'manifest.json'} does not describe LPIPS.") from error
        if hashlib.sha256(content).hexdigest() != told["sha256"]:
            raise BrokenModelError(
                f"{folder / told['file']} is not the file that its manifest describes: run chetko-export --lpips."
            )
        return cls(content, choose_device("cpu", threads or usable_cpus(), precision="float32"))

    def distance(self, first: Pixels, second: Pixels) -> float:
        """The distance of two pictures of one size, (H, W, 3) or (H, W) uint8, H and W at least 31: 0 for equal ones,
        about 0.35 for a picture and its bicubic x4 restoration. Grey is copied to three channels.

        Memory: under 100 bytes a pixel while it runs. Raises ValueError for other sizes or types.
        """
        a, b = (_rgb(image) for image in (first, second))
        if a.shape != b.shape or min(a.shape[:2]) < SMALLEST or a.dtype != np.uint8 or b.dtype != np.uint8:
            raise ValueError(
                f"LPIPS compares two uint8 pictures of one size from {SMALLEST} px, not {a.shape} {a.dtype} with "
                f"{b.shape} {b.dtype}"
            )
        return float(self._session.run(["distance"], {"first": a[None], "second": b[None]})[0][0])


def _rgb(image: Pixels) -> Pixels:
    return np.ascontiguousarray(np.repeat(image[:, :, None], 3, axis=2) if image.ndim == 2 else image)
