"""Compute threads stand back behind the event loop, also of a service that was started with ``nice``."""

from __future__ import annotations

import subprocess
import sys

import pytest

from app.api.service import COMPUTE_NICENESS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere threads have no niceness of their own")

_AS_A_USER = """
import os, sys, threading
from concurrent.futures import ThreadPoolExecutor
from app.api import service

os.nice(int(sys.argv[1]))
if os.geteuid() == 0:
    os.setresuid(65534, 65534, 65534)  # root may come forward again, a container's user may not

def niceness():
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

with ThreadPoolExecutor(1, initializer=service._stand_back) as threads:
    print(niceness(), threads.submit(niceness).result())
"""


@pytest.mark.parametrize("started_with", [0, 10, 18])
def test_compute_threads_stand_back_from_wherever_the_service_stands(started_with: int) -> None:
    command = [sys.executable, "-c", _AS_A_USER, str(started_with)]
    run = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    loop, compute = map(int, run.stdout.split())
    assert loop >= started_with
    assert compute == min(19, loop + COMPUTE_NICENESS)
