"""Places, uploads and Retry-After."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from app.api.admission import MAX_RETRY_SECONDS, Admission
from app.api.problems import UnavailableProblem


def test_places_are_bounded_and_given_back() -> None:
    admission = Admission(max_requests=2, max_uploads=9, active=1)
    with ExitStack() as held:
        held.enter_context(admission.place())
        held.enter_context(admission.place())
        with pytest.raises(UnavailableProblem) as refusal, admission.place():
            pass
        assert refusal.value.code == "overloaded"
        assert admission.requests == 2
    assert admission.requests == 0
    with admission.place():
        assert admission.requests == 1


def test_a_failed_request_gives_its_place_back() -> None:
    admission = Admission(max_requests=1, max_uploads=1, active=1)
    with pytest.raises(ZeroDivisionError), admission.place(), admission.upload():
        raise ZeroDivisionError
    assert (admission.requests, admission.uploads) == (0, 0)


def test_uploads_are_bounded_apart_from_places() -> None:
    admission = Admission(max_requests=9, max_uploads=1, active=1)
    with admission.place(), admission.upload():
        with pytest.raises(UnavailableProblem, match="uploads"), admission.place(), admission.upload():
            pass
        assert admission.requests == 1


def test_retry_after_follows_what_pictures_take() -> None:
    admission = Admission(max_requests=100, max_uploads=100, active=2)
    with ExitStack() as held:
        for _ in range(100):
            held.enter_context(admission.place())
        for _ in range(200):
            admission.note(0.02)
        assert admission.retry_after() == 1
        for _ in range(200):
            admission.note(2.0)
        assert 45 <= admission.retry_after() <= 55
        for _ in range(200):
            admission.note(1000.0)
        assert admission.retry_after() == MAX_RETRY_SECONDS
        with pytest.raises(UnavailableProblem) as refusal, admission.place():
            pass
        assert refusal.value.headers == {"Retry-After": str(MAX_RETRY_SECONDS)}
