"""How ``--gen-filters`` becomes a network's option, for the networks whose layers are all alike."""

from __future__ import annotations

from collections.abc import Sequence


def one_width(network: str, filters: Sequence[int] | None) -> dict[str, int]:
    """``{"filters": width}`` of a command that gave one width, ``{}`` of one that gave none.

    Raises ``ValueError`` with a sentence for several widths.
    """
    if filters is None:
        return {}
    if len(filters) != 1:
        raise ValueError(
            f"--gen-filters: the layers of {network} are all equally wide, so it takes one value, not {len(filters)}"
        )
    return {"filters": filters[0]}


def two_widths(network: str, filters: Sequence[int] | None) -> dict[str, list[int]]:
    """``{"filters": [first, second]}`` of a command that gave one width (for both) or two, ``{}`` of one with none.

    Raises ``ValueError`` with a sentence for more widths.
    """
    if filters is None:
        return {}
    if len(filters) not in (1, 2):
        raise ValueError(
            f"--gen-filters: {network} has two hidden layers, so it takes one or two values, not {len(filters)}"
        )
    return {"filters": [filters[0], filters[-1]]}


def no_blocks(network: str, blocks: int | None) -> None:
    """Raises ``ValueError`` with a sentence when a command gave ``blocks`` to a network of fixed depth."""
    if blocks is not None:
        raise ValueError(f"--gen-res-blocks: the depth of {network} is fixed by its paper; leave the option out")
