"""How many processor cores this process may really use, and which instructions they have."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

# Instructions that multiply bfloat16: without them it is emulated, at several times the time of float32.
_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})


def multiplies_bf16(root: Path = Path("/")) -> bool:
    """Whether the processor has instructions that multiply bfloat16; False where the system does not tell (only Linux
    does). ``root`` is where ``proc`` is mounted."""
    try:
        words = (root / "proc/cpuinfo").read_text().split()
    except OSError:
        return False
    return not _BF16_FLAGS.isdisjoint(words)


def usable_cpus(root: Path = Path("/")) -> int:
    """Cores allowed by the affinity mask and by the cgroup's quota (v1 and v2, its parents included), at
    least 1.

    A quota of a half core or more over a whole number counts as one core more: the rest of the quota is worth
    using. ``root`` is where ``proc`` and ``sys`` are mounted.
    """
    # sched_getaffinity exists on Linux only.
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = min(_quotas(root), default=math.inf)
    return max(1, min(allowed, round(quota + 1e-9) if math.isfinite(quota) else allowed))


def _quotas(root: Path) -> Iterator[float]:
    """Every quota that binds this process, in cores."""
    try:
        memberships = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in memberships:
        _, controllers, path = line.split(":", 2)
        mount = root / "sys/fs/cgroup"
        if controllers == "":
            read = _quota_v2
        elif "cpu" in controllers.split(","):
            read, mount = _quota_v1, mount / controllers
        else:
            continue
        # Inside a container the path may be the host's, of which only the mount's root exists: every level is
        # tried.
        inside = PurePosixPath(path.lstrip("/"))
        for level in (inside, *inside.parents):
            cores = read(mount / level)
            if cores is not None:
                yield cores


def _quota_v2(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def _quota_v1(folder: Path) -> float | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        return None if quota <= 0 else quota / int((folder / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
