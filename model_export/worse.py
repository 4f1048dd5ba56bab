"""Whether a model is worse than the one whose place it would take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PSNR_TOLERANCE = 0.02
"""dB by which the mean over the common sets may fall; trainings that differ only in their seed are further apart."""
LPIPS_TOLERANCE = 0.002
"""How much LPIPS, averaged likewise, may rise."""

Measured = Mapping[str, Mapping[str, float]]
"""Set -> measure -> value."""


class WorseError(Exception):
    """The new model is worse; nothing was changed. The message says by how much, and how to insist."""


class CannotTellError(Exception):
    """Nothing that was measured of both says which of them is better."""


def refuse_worse(present: Mapping[str, Any], scale: int, measured: Measured) -> None:
    """Compares ``measured`` with what the ``present`` manifest says of ``scale``; returns where there is none yet.

    A model of the kind ``perceptual`` is compared by LPIPS, any other by PSNR, over the sets that both were measured
    on. Raises WorseError and CannotTellError.
    """
    entry = present.get("scales", {}).get(str(scale))
    if entry is None:
        return
    by_lpips = present.get("kind") == "perceptual"
    measure, tolerance, unit = ("lpips", LPIPS_TOLERANCE, "") if by_lpips else ("psnr", PSNR_TOLERANCE, " dB")
    before: Measured = entry.get("measured", {})
    common = [name for name in measured if measure in measured[name] and measure in before.get(name, {})]
    if not common:
        raise CannotTellError(
            f"there is an x{scale} already, and no set on which {measure.upper()} was measured of both: "
            "measure the sets of its manifest with --benchmarks, or insist with --force"
        )
    old, new = (sum(table[name][measure] for name in common) / len(common) for table in (before, measured))
    loss = new - old if by_lpips else old - new
    if loss > tolerance:
        raise WorseError(
            f"worse than the x{scale} that is there: {measure.upper()} {new:.3f}{unit} instead of {old:.3f}{unit} on "
            f"{', '.join(common)} ({tolerance:g}{unit} are let pass); nothing was changed, --force replaces it all "
            "the same"
        )
