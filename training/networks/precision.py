"""Where half precision would do harm: arithmetic that autocast must leave alone."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def full_precision(tensor: Tensor) -> AbstractContextManager[object]:
    """A context in which operations on the device of ``tensor`` keep the type of their inputs.

    bf16 has 8 significant bits, an 8-bit picture needs all of them: fixed filters on pictures, and weights that are
    computed from other weights, run in here. Without autocast there is nothing to switch off, and an export then
    sees no context at all.
    """
    device = tensor.device.type
    if device == "meta" or not torch.is_autocast_enabled(device):  # the meta device computes shapes only
        return nullcontext()
    return torch.autocast(device, enabled=False)
