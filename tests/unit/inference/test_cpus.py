"""Threads from affinity and cgroup quota."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.inference.cpus import multiplies_bf16, usable_cpus


@pytest.fixture(autouse=True)
def _sixteen_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)


def _file(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_without_a_quota_affinity_counts(tmp_path: Path) -> None:
    assert usable_cpus(tmp_path) == 16
    _file(tmp_path / "proc/self/cgroup", "0::/\n")
    _file(tmp_path / "sys/fs/cgroup/cpu.max", "max 100000\n")
    assert usable_cpus(tmp_path) == 16


@pytest.mark.parametrize(
    ("quota", "cores"), [("400000 100000", 4), ("250000 100000", 3), ("120000 100000", 1), ("10000 100000", 1)]
)
def test_v2_quota(tmp_path: Path, quota: str, cores: int) -> None:
    _file(tmp_path / "proc/self/cgroup", "0::/\n")
    _file(tmp_path / "sys/fs/cgroup/cpu.max", quota)
    assert usable_cpus(tmp_path) == cores


def test_a_parents_quota_binds_too(tmp_path: Path) -> None:
    _file(tmp_path / "proc/self/cgroup", "0::/pod/container\n")
    _file(tmp_path / "sys/fs/cgroup/pod/container/cpu.max", "max 100000")
    _file(tmp_path / "sys/fs/cgroup/pod/cpu.max", "200000 100000")
    assert usable_cpus(tmp_path) == 2


def test_v1_quota(tmp_path: Path) -> None:
    _file(tmp_path / "proc/self/cgroup", "9:memory:/x\n4:cpu,cpuacct:/docker/abc\n")
    _file(tmp_path / "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "300000")
    _file(tmp_path / "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000")
    assert usable_cpus(tmp_path) == 3


def test_v1_without_a_quota(tmp_path: Path) -> None:
    _file(tmp_path / "proc/self/cgroup", "4:cpu,cpuacct:/\n")
    _file(tmp_path / "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1")
    _file(tmp_path / "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000")
    assert usable_cpus(tmp_path) == 16


def test_affinity_below_the_quota_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    _file(tmp_path / "proc/self/cgroup", "0::/\n")
    _file(tmp_path / "sys/fs/cgroup/cpu.max", "800000 100000")
    assert usable_cpus(tmp_path) == 1


@pytest.mark.parametrize(
    ("flags", "multiplies"),
    [
        ("fpu avx512f avx512_bf16", True),
        ("fpu amx_bf16 amx_tile", True),
        ("fpu avx2 avx512f avx512_vnni", False),
    ],
)
def test_bfloat16_is_among_the_instructions_or_not(tmp_path: Path, flags: str, multiplies: bool) -> None:
    _file(tmp_path / "proc/cpuinfo", f"model name\t: Some EPYC\nflags\t\t: {flags}\n")
    assert multiplies_bf16(tmp_path) is multiplies


def test_where_nothing_tells_there_is_no_bfloat16(tmp_path: Path) -> None:
    assert not multiplies_bf16(tmp_path)
