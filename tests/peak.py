"""The largest resident size a program had, told by itself."""

from __future__ import annotations

import os
import sys
from pathlib import Path

TOLD = sys.platform == "linux"


def peak_bytes(pid: int | None = None) -> int:
    """Of this process, or of another one that is alive; Linux only.

    Not ``ru_maxrss``: a program started from a large one (pytest with torch in it) inherits that one's peak.
    """
    status = Path(f"/proc/{os.getpid() if pid is None else pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
