"""An object that lives in a process of its own, so that its memory, threads and Python lock are its own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Self


class Apart:
    """Makes ``make(*arguments)`` in a process of its own; ``apart("method", ...)`` calls a method of it there."""

    def __init__(self, make: Callable[..., object], *arguments: object) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, make, arguments), daemon=True)
        self._process.start()
        other.close()
        try:
            self._receive()
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    def __call__(self, method: str, *arguments: object) -> Any:
        """What the method returned; raises what it raised, and EOFError when the process died."""
        self._pipe.send((method, arguments))
        return self._receive()

    def close(self) -> None:
        """Ends the process."""
        self._pipe.close()
        self._process.join(10)
        self._process.kill()
        self._process.join()

    def _receive(self) -> Any:
        worked, value = self._pipe.recv()
        if not worked:
            raise value
        return value

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _serve(pipe: Connection, make: Callable[..., object], arguments: tuple[object, ...]) -> None:
    try:
        made = make(*arguments)
        pipe.send((True, None))
    except Exception as error:
        pipe.send((False, error))
        return
    while True:
        try:
            method, given = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send((True, getattr(made, method)(*given)))
        except Exception as error:
            pipe.send((False, error))
