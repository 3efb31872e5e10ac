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
"""Of any GPU: taken, not measured."""
_STEP_S = {"cpu": 0.5, "cuda": 0.3, "mps": 0.5}
"""Seconds of a step: in 15 minutes a run should take more than a thousand of them."""
_SHARE = {"cpu": 0.4, "cuda": 0.45, "mps": 0.4}
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


def free_memory(
    groups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> int:
    """Return the bytes that this process may still take: of the machine, and of its containers.

    What the kernel keeps of files that were read (the image store was just written) is free: it is
    given up as soon as a process asks for memory.

    Parameters
    ----------
    groups : Path
        Where Linux tells the limits of its control groups (version 2, else version 1).
    own : Path
        Where it tells this process's groups; those above it limit it, too.
    """
    free = int(psutil.virtual_memory().available)
    for folder, limit, used, prefix in (
        (groups, "memory.max", "memory.current", ""),
        (groups / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
    ):
        for group in _with_parents(folder, own):
            try:
                allowed = int((group / limit).read_text())  # "max" is no number: no limit
                taken = int((group / used).read_text()) - _of_files(group, prefix)
                free = min(free, max(allowed - taken, 0))
            except (OSError, ValueError):
                continue
    return free


def _with_parents(folder: Path, own: Path) -> set[Path]:
    """Return the folders of this process's memory groups below one, and that one."""
    try:
        lines = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:
        return {folder}
    # 0::/path of version 2, 4:memory:/path of version 1; seen from a container it may lead nowhere
    paths = [
        Path(path.strip("/")) for _, name, path in lines if {"", "memory"} & set(name.split(","))
    ]
    return {folder, *(folder / one for path in paths for one in (path, *path.parents))}


def _of_files(group: Path, prefix: str) -> int:
    """Return the bytes of a group that are copies of files."""
    try:
        lines = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return 0
    return sum(int(lines.get(f"{prefix}{name}_file", 0)) for name in ("active", "inactive"))


def _kind(accelerator: str) -> str:
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "cuda"
    if accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return "mps"
    return "cpu"
