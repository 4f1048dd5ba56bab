"""Batch normalisation in evaluation is one multiplication and one addition per channel: a convolution can do both."""

from __future__ import annotations

import copy

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norm(layers: nn.Sequential) -> nn.Sequential:
    """A copy of ``layers`` in eval mode in which each BatchNorm2d has gone into the Conv2d right before it.

    Computes the same as ``layers.eval()``, also at borders: normalisation follows the zero padding. A BatchNorm2d
    that follows no convolution stays.
    """
    folded: list[nn.Module] = []
    for layer in copy.deepcopy(layers).eval():
        if isinstance(layer, nn.BatchNorm2d) and folded and isinstance(folded[-1], nn.Conv2d):
            folded[-1] = fuse_conv_bn_eval(folded[-1], layer)
        else:
            folded.append(layer)
    return nn.Sequential(*folded)
