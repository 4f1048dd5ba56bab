"""The benchmarks and photographs beside the checkout, for the tests that use them where they are at hand."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"
BENCHMARKS = SHARED / "benchmarks"

needs_benchmarks = pytest.mark.skipif(
    not (BENCHMARKS / "Set5" / "HR").is_dir(), reason="../shared/benchmarks is not at hand"
)
