"""Whether bf16 is chosen; what the processor has and how long it takes are stand-ins, but for the last test."""

from __future__ import annotations

import math

import pytest
import torch

from training import hardware
from training.hardware import bf16_beside_float32, choose_hardware


@pytest.mark.parametrize(
    ("has", "took", "chosen"),
    [
        ({"avx512_bf16": True}, 0.5, True),
        ({"amx_bf16": True}, 0.3, True),
        ({"avx512_bf16": True}, 1.5, False),
    ],
)
def test_auto_takes_bf16_where_the_processor_multiplies_it_faster(
    has: dict[str, bool], took: float, chosen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    monkeypatch.setattr(hardware, "bf16_beside_float32", lambda: took)
    assert choose_hardware("cpu", "auto", None).bf16 is chosen
    assert choose_hardware("cpu", "bf16", None).bf16, "who asks for it gets it"
    assert not choose_hardware("cpu", "float32", None).bf16


def test_without_its_instructions_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    monkeypatch.setattr(hardware, "bf16_beside_float32", lambda: pytest.fail("it would be emulated, for seconds"))
    assert not choose_hardware("cpu", "auto", None).bf16


def test_the_measurement_leaves_the_threads_as_they_were() -> None:
    before = torch.get_num_threads()
    assert 0 < bf16_beside_float32.__wrapped__() < math.inf
    assert torch.get_num_threads() == before
