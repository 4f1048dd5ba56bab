"""What a network does to pictures it has not seen: PSNR, SSIM and LPIPS, and a strip to look at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from PIL import Image
from torch import nn

from training.evaluation.datasets import Image8, Pair
from training.evaluation.lpips import Lpips
from training.evaluation.metrics import luma
from training.evaluation.restore import (
    Restorer,
    bicubic_restorer,
    device_of,
    equalized,
    mean_scores,
    restore_any,
    scores,
    torch_restorer,
)
from training.pictures import labelled_strip


class Validation:
    """Measures a network on ``pairs`` of (LR, HR) by the protocol of the published comparisons (design section 7).

    ``pairs`` are kept in memory and enlarged whole. ``lpips``, where given, is moved to the network's device.
    ``equalize`` gives each result the colours of its LR source before it is measured or shown: the original's
    ``--equalize-colors``. A network runs in eval mode and is left in the mode it had. Raises ``ValueError`` without
    pairs.
    """

    def __init__(self, pairs: Sequence[Pair], scale: int, lpips: Lpips | None = None, equalize: bool = False) -> None:
        if not pairs:
            raise ValueError("validation needs at least one pair of pictures")
        self.pairs, self.scale, self.lpips, self.equalize = list(pairs), scale, lpips, equalize

    def __call__(self, network: nn.Module) -> dict[str, float]:
        """Means over the pairs, rounded to 4 decimals: ``psnr`` in dB, ``ssim``, and ``lpips`` if it was given."""
        with self._restorer(network) as restore:
            return mean_scores(restore, self.pairs, self.scale, lpips=self.lpips)

    def strip(self, network: nn.Module, index: int = 0, edge: int = 96) -> Image.Image:
        """LR | bicubic | SR | HR of a part of the pair ``index``, at 1:1 pixels of HR; LR's pixels become squares.

        The part is the square of ``edge`` LR pixels (smaller where the picture is) in which bicubic is furthest from
        HR: what there is to restore, and the same part for every network. The figures are of the whole picture.
        """
        small, large = self.pairs[index]
        bicubic = bicubic_restorer(self.scale)
        with self._restorer(network) as restore:
            enlarged = [restore_any(method, small) for method in (bicubic, restore)]
            captions = [self._caption(method, small, large) for method in (bicubic, restore)]
        top, left, height, width = _hardest(luma(enlarged[0]), luma(large), self.scale, edge)
        rows = slice(top * self.scale, (top + height) * self.scale)
        columns = slice(left * self.scale, (left + width) * self.scale)
        squares = small[top : top + height, left : left + width].repeat(self.scale, axis=0).repeat(self.scale, axis=1)
        return labelled_strip(
            [
                ("LR", f"{width} × {height} px", squares),
                ("bicubic", captions[0], enlarged[0][rows, columns]),
                ("SR", captions[1], enlarged[1][rows, columns]),
                ("HR", f"{width * self.scale} × {height * self.scale} px", large[rows, columns]),
            ]
        )

    @contextmanager
    def _restorer(self, network: nn.Module) -> Iterator[Restorer]:
        was_training = network.training
        network.eval()
        if self.lpips:
            self.lpips.to(device_of(network))
        try:
            restore = torch_restorer(network)
            yield equalized(restore) if self.equalize else restore
        finally:
            network.train(was_training)

    def _caption(self, restore: Restorer, small: Image8, large: Image8) -> str:
        row = scores(restore, small, large, self.scale, lpips=self.lpips)
        return f"{row['psnr']:.2f} dB" + (f", LPIPS {row['lpips']:.3f}" if self.lpips else "")


def _hardest(enlarged: np.ndarray, sharp: np.ndarray, scale: int, edge: int) -> tuple[int, int, int, int]:
    """(top, left, height, width) in LR pixels of the square of ``edge`` with the largest squared error."""
    error = (enlarged - sharp[: enlarged.shape[0], : enlarged.shape[1]]) ** 2
    rows, columns = error.shape[0] // scale, error.shape[1] // scale
    height, width = min(edge, rows), min(edge, columns)
    sums = np.zeros((rows + 1, columns + 1))
    sums[1:, 1:] = error.reshape(rows, scale, columns, scale).sum(axis=(1, 3)).cumsum(axis=0).cumsum(axis=1)
    inside = sums[height:, width:] - sums[height:, :-width] - sums[:-height, width:] + sums[:-height, :-width]
    top, left = np.unravel_index(int(inside.argmax()), inside.shape)
    return int(top), int(left), height, width
