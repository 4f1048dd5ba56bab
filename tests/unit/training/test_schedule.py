from __future__ import annotations

import pytest

from training.schedule import Schedule


def test_the_step_schedule_halves_every_so_many_epochs() -> None:
    schedule = Schedule(0, 200, 10, 1e-4, "step", decay=0.5, decay_epochs=75)
    rates = [schedule.rate(schedule.progress(epoch * 10, 0.0)) for epoch in (0, 74, 75, 149, 150, 199)]
    assert rates == pytest.approx([1e-4, 1e-4, 5e-5, 5e-5, 2.5e-5, 2.5e-5])


def test_the_cosine_falls_from_the_rate_to_zero() -> None:
    schedule = Schedule(0, 10, 10, 1e-3, "cosine")
    rates = [schedule.rate(schedule.progress(step, 0.0)) for step in (0, 50, 100)]
    assert rates == pytest.approx([1e-3, 5e-4, 0.0])


def test_the_generator_is_alone_for_its_epochs_and_not_a_step_longer() -> None:
    schedule = Schedule(3, 7, 13, 1e-4)
    stages = [schedule.pretraining(schedule.progress(step, 0.0)) for step in range(schedule.steps)]
    assert stages == [True] * 39 + [False] * 91


def test_a_time_limit_ends_the_run_and_stretches_its_stages() -> None:
    schedule = Schedule(10, 10, 1000, 1e-3, "step", decay=0.1, decay_epochs=10, time_limit=100.0)
    assert schedule.progress(5, 50.0) == 0.5
    assert schedule.progress(5, 120.0) == 1.0
    assert schedule.progress(20_000, 3.0) == 1.0
    assert schedule.pretraining(schedule.progress(5, 49.0))
    assert not schedule.pretraining(schedule.progress(5, 50.0))
    assert schedule.rate(schedule.progress(5, 51.0)) == pytest.approx(1e-4)
