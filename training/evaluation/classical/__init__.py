"""Super-resolution before deep networks, computed here instead of quoted.

Bench code: clear first, minutes a picture allowed; needs the extra ``bench``. A title is a paper's name alone only if
the method comes within 0.3 dB of its published PSNR on Set5 x4, which a test checks against docs/classical; else it
says what was built.
"""

from __future__ import annotations

from importlib import import_module
from typing import NamedTuple

from training.evaluation.restore import Restorer


class Entry(NamedTuple):
    """A classical method."""

    title: str
    """As tables and pictures name it."""
    module: str
    """In this folder; has a function of the method's name."""
    paper: str
    """What the published comparisons call it."""
    published: float
    """dB on Set5 x4, the mean over ``published_per_image.json``."""


CLASSICAL = {
    "glasner": Entry("Glasner, cross-scale part", "self_similar", "Glasner", 28.84),
    "kim": Entry("Kim", "kim", "Kim", 30.07),
    "scsr": Entry("ScSR, a dictionary for each scale", "scsr", "ScSR", 29.07),
    "selfex": Entry("SelfEx, patch search only", "self_similar", "SelfEx", 30.33),
}
"""Name -> what it is, in the order of the tables."""


def restorer_of(name: str, scale: int) -> Restorer:
    """The method ``name`` at ``scale``. Raises ``ImportError`` with a sentence when scipy is not installed."""
    try:  # scipy is wanted only where a classical method is
        module = import_module(f"{__name__}.{CLASSICAL[name].module}")
    except ImportError as error:
        raise ImportError(f"{name} needs scipy: pip install 'chetko[bench]'") from error
    restorer: Restorer = getattr(module, name)(scale)
    return restorer
