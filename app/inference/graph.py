"""One loaded ONNX file on one device: pixels in, enlarged pixels out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

import numpy as np
import onnxruntime as ort

from app.imaging.picture import Pixels
from app.inference.device import Device
from app.inference.errors import DeviceLostError, DeviceOutOfMemoryError, InferenceError, NotFiniteError

_log = logging.getLogger(__name__)

# What onnxruntime's providers say when memory runs out; it has no exception of its own for that.
_OUT_OF_MEMORY = (
    "Failed to allocate",
    "bad_alloc",
    "bad allocation",
    "out of memory",
    "ALLOC_FAILED",
    "BFCArena",
)

# What they say when the GPU itself is at an end: CUDA's errors 46, 100, 101, 214, 700, 710, 719 and 999, after which
# every further call of the process fails too.
_LOST = (
    "no CUDA-capable device",
    "invalid device ordinal",
    "all CUDA-capable devices are busy or unavailable",
    "uncorrectable ECC error",
    "an illegal memory access was encountered",
    "device-side assert triggered",
    "unspecified launch failure",
    "CUDA failure 999",
)


class Graph:
    """A network that is ready to run.

    ``run`` is called by one thread at a time: the device's.
    """

    def __init__(
        self,
        model: bytes,
        device: Device,
        *,
        most_pixels: int,
        full_precision: Callable[[], Graph] | None = None,
        bf16_scale: int | None = None,
    ) -> None:
        """``most_pixels``: input pixels that one run may take, all tiles of a batch together (a single tile
        may be larger). ``full_precision``: for a graph in half precision, where the same network in float32
        is had from. ``bf16_scale``: compute in bfloat16, which has float32's range and needs no such resort; how many
        times this network enlarges."""
        bf16 = bf16_scale is not None
        session = device.session(model, bf16=bf16)
        self._session: ort.InferenceSession | None = session
        self._bf16_scale = bf16_scale
        self._open = partial(device.session, model if bf16 else b"", bf16=bf16)
        self._outputs = [output.name for output in session.get_outputs()]
        self._full_precision = full_precision
        self.provider: str = session.get_providers()[0]
        self.most_pixels = most_pixels
        self.batches = device.batches

    def run(self, pixels: Pixels) -> Pixels:
        """(N, H, W, 3) uint8 or float32 in [0, 1], as the graph takes it -> (N, s*H, s*W, 3) of the same
        type.

        Raises DeviceOutOfMemoryError, DeviceLostError, NotFiniteError when float32 too gives NaN or infinity, and
        InferenceError.
        """
        try:
            self._session = self._session or self._open()
            answers = self._session.run(self._outputs, {"image": pixels})
        except MemoryError as error:
            self._give_up_session()
            raise _no_memory(pixels) from error.with_traceback(None)
        except Exception as error:  # onnxruntime's exceptions share no base class
            self._give_up_session()
            if any(text in str(error) for text in _OUT_OF_MEMORY):
                raise _no_memory(pixels) from error.with_traceback(None)
            if any(text in str(error) for text in _LOST):
                _log.error("onnxruntime lost the device: %s", error)
                raise DeviceLostError("The GPU no longer answers: this process must be started anew.") from error
            _log.exception("onnxruntime failed on a tile of %s", _shape(pixels))
            raise InferenceError(f"The network failed on a tile of {_shape(pixels)}; the log says why.") from error
        named = dict(zip(self._outputs, answers, strict=True))
        upscaled: Pixels = named["upscaled"]
        if self._is_stale(pixels, upscaled):
            self._give_up_session()
            raise _no_memory(pixels)
        if _is_finite(upscaled) and np.all(named.get("finite", True)):
            return upscaled
        if self._full_precision is None:
            raise NotFiniteError(
                f"The network gave NaN or infinity on a tile of {_shape(pixels)}: its file is damaged or badly trained."
            )
        return self._full_precision().run(pixels)

    def _give_up_session(self) -> None:
        """After a failed run. In OpenVINO's session some layers are prepared for the new shape by then and others for
        the one before: the next run failed too, of whatever size, for the memory that this one had lacked."""
        if self._bf16_scale is not None:
            self._session = None

    def _is_stale(self, pixels: Pixels, upscaled: Pixels) -> bool:
        """Whether that is the answer to the run before. OpenVINO with one thread, when it has no memory for a new
        shape, says nothing and gives that."""
        scale = self._bf16_scale
        count, height, width, _ = pixels.shape
        return scale is not None and upscaled.shape[:3] != (count, scale * height, scale * width)


def _no_memory(pixels: Pixels) -> DeviceOutOfMemoryError:
    """To be raised from an error without its traceback, which would keep a session that was given up in memory while
    the tile is tried again in halves."""
    return DeviceOutOfMemoryError(f"No memory for a tile of {_shape(pixels)}.")


def _is_finite(pixels: Pixels) -> bool:
    if pixels.dtype.kind != "f":
        return True
    # A sum is NaN or infinite if any term is: one pass and no array of truth values.
    with np.errstate(invalid="ignore"):
        return bool(np.isfinite(pixels.sum(dtype=np.float64)))


def _shape(pixels: Pixels) -> str:
    count, height, width, _ = pixels.shape
    return f"{width} x {height} pixels" + (f" ({count} at once)" if count > 1 else "")
