"""The CPU cores that this process may use, which can be fewer than the machine has."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """Return the number of cores; at least 1."""
    return len(list_cores()) or os.cpu_count() or 1


def list_cores() -> list[int]:
    """Return the numbers of the cores, none where the system does not tell."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
