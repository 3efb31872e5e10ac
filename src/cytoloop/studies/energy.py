"""The energy that the processors of this machine took, by the counters of Linux (RAPL).

Intel and AMD processors count micro-joules in ``/sys/class/powercap``. On many systems only root
may read them. A GPU is not among them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

COUNTERS = Path("/sys/class/powercap")
NOT_MEASURED = (
    "Energy is not measured: the processor's counters (RAPL, /sys/class/powercap) cannot be read."
)


def read_counters(folder: Path = COUNTERS) -> dict[Path, int]:
    """Return the counter of each processor in micro-joules; empty where none can be read."""
    found = {}
    for path in sorted(folder.glob("intel-rapl:*")):
        if path.name.count(":") == 1:  # a whole processor, not a part of one
            try:
                found[path] = int((path / "energy_uj").read_text())
            except (OSError, ValueError):
                continue
    return found


def watt_hours(before: Mapping[Path, int], after: Mapping[Path, int]) -> float | None:
    """Return the energy between two readings in Wh; None where nothing was read.

    A counter that has started anew in between counts its range once.
    """
    joules, is_known = 0.0, False
    for path, start in before.items():
        if path not in after:
            continue
        taken = after[path] - start
        if taken < 0:
            try:
                taken += int((path / "max_energy_range_uj").read_text())
            except (OSError, ValueError):
                continue
        joules, is_known = joules + taken / 1e6, True
    return joules / 3600 if is_known else None
