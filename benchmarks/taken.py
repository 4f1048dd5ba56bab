"""What processes took: the most memory that they had resident, as far as Linux tells it, and processor time."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import psutil

_RESET_PEAK = "5"


def with_children(pids: Iterable[int]) -> list[int]:
    """The processes and all that they started, as far as they live."""
    found = []
    for pid in pids:
        try:
            found += [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
        except psutil.NoSuchProcess:
            continue
    return found


def forget_peak(pids: Iterable[int]) -> None:
    """From now on the peak is that of what follows."""
    for pid in pids:
        try:
            Path(f"/proc/{pid}/clear_refs").write_text(_RESET_PEAK)
        except OSError:  # it has ended, or this is not Linux
            continue


def processor_seconds(pids: Iterable[int]) -> float:
    """That the processes and their ended children took since they began."""
    total = 0.0
    for pid in pids:
        try:
            told = psutil.Process(pid).cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += told.user + told.system + getattr(told, "children_user", 0) + getattr(told, "children_system", 0)
    return total


def peak(pids: Iterable[int]) -> int | None:
    """Bytes: the peaks of all processes added up, so at least what they had at once; None where it is not told."""
    total = None
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        except OSError:
            continue
        kilobytes = next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), None)
        if kilobytes is not None:
            total = (total or 0) + kilobytes * 1024
    return total
