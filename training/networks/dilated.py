"""``dilated``: ``fast`` with taps spread out, for damage that is wider than a texture.

A step between two blocks of a JPEG in a clear sky is a few levels high and 8 pixels away from the next one: which part
of it is the sky's own slope can be told only from several blocks at once. Taps 1, 2, 3, 4, ..., 3, 2, 1 pixels apart
(K. Zhang et al., "Learning deep CNN denoiser prior for image restoration", CVPR 2017, section 3.2) see 20 pixels to
each side where ``fast`` sees 8, with as many weights and multiplications.
"""

from __future__ import annotations

from typing import ClassVar

from training.networks.fast import Fast

WIDEST = 4
"""Pixels between taps: with more, neighbours take part in too few of a pixel's paths, and a grid shows."""


class Dilated(Fast):
    """(N, 3, H, W) in [0, 1] -> (N, 3, scale*H, scale*W), not clamped. Options are those of ``Fast``."""

    name: ClassVar[str] = "dilated"
    summary: ClassVar[str] = "as fast, with taps up to 4 pixels apart: for JPEG's blocks and noise"
    paper: ClassVar[str] = "this project, after Shi 2016 and Zhang 2017"

    @staticmethod
    def dilations(layers: int) -> list[int]:
        """1, 2, 3, 4, ..., 4, 3, 2, 1."""
        return [min(index + 1, layers - index, WIDEST) for index in range(layers)]
