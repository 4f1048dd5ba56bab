"""Exactly one onnxruntime."""

from __future__ import annotations

from importlib import metadata

import pytest

from app.inference.errors import RuntimeProblemError
from app.inference.runtime import DISTRIBUTIONS, check_runtime


def _install(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    def distribution(name: str) -> object:
        if name not in names:
            raise metadata.PackageNotFoundError(name)
        return object()

    monkeypatch.setattr(metadata, "distribution", distribution)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_one_runtime_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    _install(monkeypatch, name)
    assert check_runtime() == name


def test_the_installed_runtime_is_found() -> None:
    assert check_runtime() in DISTRIBUTIONS


def test_none_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch)
    with pytest.raises(RuntimeProblemError, match=r"No onnxruntime is installed.*chetko\[cpu\]"):
        check_runtime()


def test_two_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, "onnxruntime", "onnxruntime-gpu")
    with pytest.raises(RuntimeProblemError, match="onnxruntime and onnxruntime-gpu are installed together") as caught:
        check_runtime()
    assert caught.value.message.count(".") == 1, "one sentence"
