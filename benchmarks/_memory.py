"""How much memory a piece of work adds at its peak (Linux tells it per process)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def extra_mb(work: Callable[[], object]) -> float:
    """Peak resident memory during ``work`` above what was resident before; NaN off Linux."""
    try:
        CLEAR.write_text("5")  # forget the former peak
    except OSError:
        work()
        return float("nan")
    before = _kilobytes("VmRSS")
    work()
    return (_kilobytes("VmHWM") - before) / 1024


def _kilobytes(name: str) -> float:
    for line in STATUS.read_text().splitlines():
        if line.startswith(name + ":"):
            return float(line.split()[1])
    return float("nan")
