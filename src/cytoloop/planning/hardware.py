"""The machine at hand: what a step may cost in time and memory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from cytoloop.model.hardware import choose_precision

_CPU_SPEED = {"bf16-mixed": 100e9, "32": 40e9}
"""Multiplications and additions in a second of one core, as training reaches them (measured)."""
_MOST_CORES = 16
_GPU_SPEED = 10e12
_STEP_S = {"cpu": 0.5, "cuda": 0.3, "mps": 0.5}
"""Seconds of a step: in 15 minutes a run should take more than a thousand of them."""
_SHARE = {"cpu": 0.4, "cuda": 0.7, "mps": 0.4}
"""Of the free memory, for what a step keeps: gradients and workspaces are about as much again."""


@dataclass(frozen=True)
class Hardware:
    """What a plan needs to know of the machine.

    Attributes
    ----------
    kind : str
        cpu, cuda or mps.
    precision : str
        Lightning's.
    macs : float
        Multiplications and additions that a step may take.
    memory : float
        Bytes that a step may keep for its backward pass.
    """

    kind: str
    precision: str
    macs: float
    memory: float


def find_hardware(
    accelerator: str, precision: str, budget_minutes: float | None = None
) -> Hardware:
    """Return the machine as training will use it.

    Parameters
    ----------
    accelerator, precision : str
        Lightning's names; auto is allowed for both.
    budget_minutes : float, optional
        In more than an hour a step may take longer, up to four times as long.
    """
    kind = _kind(accelerator)
    if precision == "auto":
        precision = choose_precision(accelerator)
    free = torch.cuda.mem_get_info()[0] if kind == "cuda" else free_memory()
    speed = _GPU_SPEED
    if kind != "cuda":
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
        cores = min(cores or os.cpu_count() or 1, _MOST_CORES)
        speed = cores * _CPU_SPEED.get(precision, _CPU_SPEED["32"])
    longer = min(max((budget_minutes or 0) / 60, 1), 4)
    return Hardware(kind, precision, speed * _STEP_S[kind] * longer, free * _SHARE[kind])


def free_memory(groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the bytes that this process may still take: of the machine, and of its container.

    Parameters
    ----------
    groups : Path
        Where Linux tells a container's limits (version 2, else version 1).
    """
    free = int(psutil.virtual_memory().available)
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            allowed = int((groups / limit).read_text())  # "max" is no number: no limit
            free = min(free, max(allowed - int((groups / used).read_text()), 0))
        except (OSError, ValueError):
            continue
    return free


def _kind(accelerator: str) -> str:
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "cuda"
    if accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return "mps"
    return "cpu"
