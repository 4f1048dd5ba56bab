"""``fast`` in the layout of SRVGGNetCompact, which spandrel, chaiNNer and ComfyUI recognise by its tensors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.networks.fast import NEGATIVE_SLOPE, Fast


def to_srvgg(network: nn.Module) -> dict[str, Tensor]:
    """The state of ``network`` as SRVGGNetCompact with PReLU (``body.N.weight``, ``body.N.bias``).

    A LeakyReLU is exactly a PReLU whose slopes are all equal, so the function is the same. Raises ``TypeError``
    for any other network.
    """
    if type(network) is not Fast:  # a relative of it, `dilated`, has the same tensors and computes another function
        raise TypeError(f"only `fast` has the layout of SRVGGNetCompact, not {type(network).__name__}")
    state = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    for index, layer in enumerate(network.body):
        if isinstance(layer, nn.LeakyReLU):
            state[f"body.{index}.weight"] = torch.full((network.options["filters"],), NEGATIVE_SLOPE)
    return dict(sorted(state.items(), key=lambda item: (int(item[0].split(".")[1]), item[0])))
