"""Run as a script, by its path: ``python -I -S tied.py PARENT NICENESS PROGRAM [ARGUMENT ...]``.

Becomes PROGRAM, in a session of its own (Ctrl-C and a closed terminal are its parent's affair), ``NICENESS`` below
its parent, and, on Linux, killed by the kernel as soon as its parent is gone, however that ended. The kernel watches
the *thread* that started this one: the parent starts its children from its main thread. ``PARENT`` is the parent's
process id; if it is gone already, this ends.

A script that turns into the program, and not a ``preexec_fn``: that would run Python between fork and exec, which can
hang in a process with threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def _become(parent: int, niceness: int, program: list[str]) -> None:
    os.setsid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("its parent is gone")
    os.nice(niceness)
    os.execv(program[0], program)  # noqa: S606 - that is what this file is for


if __name__ == "__main__":
    _become(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
