"""The machine: what a training step may cost in time and memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from cytoloop.io.memory import free_memory
from cytoloop.model.hardware import choose_precision
from cytoloop.workers.cores import usable_cores

_CPU_SPEED = {"bf16-mixed": 100e9, "32": 40e9}
"""Multiply-adds that training reaches in a second on one core, by precision (measured)."""
_MAX_CORES = 16
_GPU_SPEED = 10e12
"""Multiply-adds a second on any GPU: an assumption, not measured."""
_STEP_S = {"cpu": 0.5, "cuda": 0.3, "mps": 0.5}
"""Seconds that a step may take: in 15 minutes a run should make more than 1000 steps."""
_MEMORY_FRACTION = {"cpu": 0.4, "cuda": 0.45, "mps": 0.4}
"""Part of the free memory for what a step keeps; gradients and workspaces need about as much."""


@dataclass(frozen=True)
class Machine:
    """What a plan needs to know about the machine.

    Attributes
    ----------
    kind : str
        cpu, cuda or mps.
    precision : str
        As Lightning names it.
    macs : float
        Multiply-adds that a step may take.
    memory : float
        Bytes that a step may keep for its backward pass.
    """

    kind: str
    precision: str
    macs: float
    memory: float


def find_machine(accelerator: str, precision: str, budget_minutes: float | None = None) -> Machine:
    """Return the machine as training uses it.

    Parameters
    ----------
    accelerator, precision : str
        As Lightning names them, or auto.
    budget_minutes : float, optional
        With more than an hour, a step may take up to four times as long.
    """
    kind = _kind(accelerator)
    if precision == "auto":
        precision = choose_precision(accelerator)
    free = torch.cuda.mem_get_info()[0] if kind == "cuda" else free_memory()
    speed = _GPU_SPEED
    if kind != "cuda":
        speed = min(usable_cores(), _MAX_CORES) * _CPU_SPEED.get(precision, _CPU_SPEED["32"])
    longer = min(max((budget_minutes or 0) / 60, 1), 4)
    return Machine(kind, precision, speed * _STEP_S[kind] * longer, free * _MEMORY_FRACTION[kind])


def _kind(accelerator: str) -> str:
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "cuda"
    if accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return "mps"
    return "cpu"
