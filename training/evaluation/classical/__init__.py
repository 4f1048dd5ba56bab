"""Super-resolution before deep networks, computed here instead of quoted.

Bench code: clear first, minutes a picture allowed.
"""

from __future__ import annotations

from collections.abc import Callable

from training.evaluation.restore import Restorer

CLASSICAL: dict[str, tuple[str, Callable[[int], Restorer]]] = {}
"""Name -> (title, maker of the restorer for a scale)."""
