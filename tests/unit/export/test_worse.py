"""Which model may take another's place."""

from __future__ import annotations

from typing import Any

import pytest

from model_export.worse import CannotTellError, WorseError, refuse_worse


def manifest(kind: str = "fidelity", **measured: dict[str, float]) -> dict[str, Any]:
    return {"kind": kind, "scales": {"4": {"measured": measured}}}


def test_a_first_export_and_another_scale_are_not_compared() -> None:
    refuse_worse({}, 4, {"Set5": {"psnr": 1.0}})
    refuse_worse(manifest(Set5={"psnr": 31.0}), 2, {"Set5": {"psnr": 1.0}})


@pytest.mark.parametrize("psnr", [31.5, 31.0, 30.985])
def test_better_equal_and_within_the_tolerance_are_let_in(psnr: float) -> None:
    refuse_worse(manifest(Set5={"psnr": 31.0}), 4, {"Set5": {"psnr": psnr}})


def test_a_worse_one_is_refused_with_both_numbers() -> None:
    with pytest.raises(WorseError, match=r"PSNR 30\.970 dB instead of 31\.000 dB on Set5 \(0\.02 dB"):
        refuse_worse(manifest(Set5={"psnr": 31.0}), 4, {"Set5": {"psnr": 30.97}})


def test_only_sets_that_both_were_measured_on_count() -> None:
    present = manifest(Set5={"psnr": 31.0}, Set14={"psnr": 28.0})
    refuse_worse(present, 4, {"Set5": {"psnr": 31.0}, "examples": {"psnr": 10.0}})
    with pytest.raises(WorseError, match=r"29\.400 dB instead of 29\.500 dB on Set5, Set14"):
        refuse_worse(present, 4, {"Set5": {"psnr": 31.1}, "Set14": {"psnr": 27.7}})


def test_perceptual_models_are_compared_by_lpips() -> None:
    present = manifest("perceptual", Set5={"psnr": 29.0, "lpips": 0.120})
    refuse_worse(present, 4, {"Set5": {"psnr": 27.0, "lpips": 0.119}})
    with pytest.raises(WorseError, match=r"LPIPS 0\.130 instead of 0\.120"):
        refuse_worse(present, 4, {"Set5": {"psnr": 32.0, "lpips": 0.130}})


@pytest.mark.parametrize(
    ("present", "measured"),
    [
        (manifest("perceptual", Set5={"psnr": 29.0}), {"Set5": {"psnr": 32.0, "lpips": 0.1}}),
        (manifest("perceptual", Set5={"psnr": 29.0, "lpips": 0.1}), {"Set5": {"psnr": 32.0}}),
        (manifest(Set5={"psnr": 31.0}), {"examples": {"psnr": 30.0}}),
    ],
    ids=["no LPIPS then", "no LPIPS now", "other sets"],
)
def test_what_cannot_be_compared_is_said(present: dict[str, Any], measured: Any) -> None:
    with pytest.raises(CannotTellError, match="--benchmarks, or insist with --force"):
        refuse_worse(present, 4, measured)
