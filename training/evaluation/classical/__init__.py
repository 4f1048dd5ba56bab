"""Super-resolution before deep networks, computed here instead of quoted.

Bench code: clear first, minutes a picture allowed; needs the extra ``bench``. A title is a paper's name only if the
method comes within 0.3 dB of its published PSNR on Set5 x4; else it says what was built.
"""

from __future__ import annotations

from importlib import import_module
from typing import NamedTuple

from training.evaluation.restore import Restorer


class Entry(NamedTuple):
    """A classical method."""

    title: str
    module: str


CLASSICAL = {
    "glasner": Entry("Glasner, cross-scale part", "self_similar"),
    "kim": Entry("Kim", "kim"),
    "selfex": Entry("SelfEx, patch search only", "self_similar"),
}
"""Name -> title, and the module in this folder that has the function of that name."""


def restorer_of(name: str, scale: int) -> Restorer:
    """The method ``name`` at ``scale``. Raises ``ImportError`` with a sentence when scipy is not installed."""
    try:  # scipy is wanted only where a classical method is
        module = import_module(f"{__name__}.{CLASSICAL[name].module}")
    except ImportError as error:
        raise ImportError(f"{name} needs scipy: pip install 'chetko[bench]'") from error
    restorer: Restorer = getattr(module, name)(scale)
    return restorer
