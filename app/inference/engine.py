"""What is loaded, on which device, and the queue in front of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from copy import copy
from functools import cache
from threading import Lock
from types import TracebackType
from typing import Literal

import numpy as np

from app.inference.batcher import Batcher, Line
from app.inference.cpus import usable_cpus
from app.inference.device import Device, Platform, Precision, choose_device
from app.inference.errors import BrokenModelError
from app.inference.graph import Graph
from app.inference.manifest import ModelFile
from app.inference.registry import Registry, Variant
from app.inference.runtime import check_runtime
from app.inference.tiles import Costs, Plan, plan, plan_kept_squares

_log = logging.getLogger(__name__)

Kind = Literal["uint8", "float"]

# Enough for a warm-up to touch every layer, small enough to take no time.
_WARM_EDGE = 32


class Engine:
    """Sessions on one device. Safe to use from several threads; a process makes one, and further ones from it
    with ``serving``."""

    def __init__(
        self,
        registry: Registry,
        *,
        platform: Platform = "auto",
        precision: Precision = "auto",
        threads: int | None = None,
        tile_memory_mb: int = 256,
        queue_tiles: int = 64,
    ) -> None:
        """``threads``: of one run on the CPU (None: the cores this process may use). ``tile_memory_mb``: MiB
        for the activations of a running tile and the finished rows around it. ``queue_tiles``: most tiles of
        one picture that wait for the device at once.

        Raises RuntimeProblemError and PlatformUnavailableError.
        """
        check_runtime()
        self.registry = registry
        self.threads = threads or usable_cpus()
        self.queue_tiles = queue_tiles
        self.device = choose_device(platform, self.threads, precision=precision)
        self._memory = tile_memory_mb * 2**20
        self._batcher = Batcher(self.device.name)
        self._loading = Lock()
        self._graphs: dict[tuple[str, int, Kind], Graph] = {}

    def serving(self, registry: Registry) -> Engine:
        """An engine of the models in ``registry`` on the same device and in the same queue.

        Networks that both have, unchanged, are shared; the others load on first use. This engine goes on for
        whoever holds it, and what only it had loaded leaves memory with the last of them. ``close`` of either
        closes the queue of both.
        """
        other = copy(self)
        other.registry = registry
        other._loading = Lock()
        with self._loading:
            other._graphs = {
                (name, scale, kind): graph
                for (name, scale, kind), graph in self._graphs.items()
                if registry.has(self.registry.find(name, scale))
            }
        return other

    def graph(self, variant: Variant, kind: Kind) -> Graph:
        """The variant's network for 8-bit pixels (``uint8``) or float32 in [0, 1] (``float``), loaded on
        first use.

        Raises BrokenModelError when a file is not the one that the manifest describes.
        """
        key = (variant.manifest.name, variant.scale, kind)
        with self._loading:
            if key not in self._graphs:
                self._graphs[key] = _load(variant, kind, self.device, self._memory)
            return self._graphs[key]

    def warm(self, name: str | None, scale: int) -> None:
        """Loads both networks of a model and runs each once, so that the first picture does not wait for
        that."""
        variant = self.registry.find(name, scale)
        shape = (_WARM_EDGE, _WARM_EDGE, 3)
        with self.line() as line:
            line.submit(self.graph(variant, "uint8"), np.zeros(shape, np.uint8), lambda _: None).result()
            line.submit(self.graph(variant, "float"), np.zeros(shape, np.float32), lambda _: None).result()

    def plan(self, variant: Variant, height: int, width: int, *, pixel_bytes: int, tile: int | None = None) -> Plan:
        """How a picture of ``height`` x ``width`` is cut; ``pixel_bytes`` is the size of one finished output
        pixel.

        ``tile`` sets the edge of the kept squares in input pixels, whatever the memory setting.
        """
        halo = variant.entry.halo
        if tile is not None:
            return plan_kept_squares(height, width, halo=halo, edge=tile)
        costs = Costs(
            memory=self._memory,
            tile_pixel=variant.entry.activation_bytes_per_input_pixel,
            band_pixel=variant.scale**2 * pixel_bytes,
        )
        return plan(height, width, halo=halo, costs=costs, closed=self.device.closed_shapes)

    def line(self) -> Line:
        """A place in the device's queue for one picture."""
        return self._batcher.line()

    def queue_length(self) -> int:
        """Tiles that wait for the device."""
        return self._batcher.queue_length()

    def close(self) -> None:
        """Fails what waits and ends the device's thread after the run in progress. Safe to call twice."""
        self._batcher.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _load(variant: Variant, kind: Kind, device: Device, memory: int) -> Graph:
    """Not a method: a graph that held its engine would keep all networks of that engine in memory."""
    files = variant.entry.files
    most_pixels = memory // variant.entry.activation_bytes_per_input_pixel
    full_file = files.uint8 if kind == "uint8" else files.float
    # Read now in any case: a model that is exported again must not change under a picture that is being enlarged.
    full_content = variant.read(full_file)

    @cache
    def full_precision() -> Graph:
        return load(full_file, full_content)

    def load(
        file: ModelFile, content: bytes, fallback: Callable[[], Graph] | None = None, *, bf16_scale: int | None = None
    ) -> Graph:
        try:
            return Graph(content, device, most_pixels=most_pixels, full_precision=fallback, bf16_scale=bf16_scale)
        except Exception as error:  # onnxruntime's exceptions share no base class
            path = variant.folder / file.file
            raise BrokenModelError(f"{path} cannot be run, export the model again: {error}") from error

    if kind == "float":  # 16-bit pictures: half precision has 11 bits of them, bfloat16 8
        graph = full_precision()
    elif device.half and files.fp16 is not None:
        graph = load(files.fp16, variant.read(files.fp16), full_precision)
    elif device.bf16 and variant.entry.allows_bf16:
        graph = load(full_file, full_content, bf16_scale=variant.scale)
    else:
        graph = full_precision()
    _log.info("loaded %s x%d (%s) on %s", variant.manifest.name, variant.scale, kind, graph.provider)
    return graph
