"""What the hardware is good at: precision and memory by measured speed, not by fashion."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}
"""Layouts with channels innermost, by spatial dimensions."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h


def choose_precision(accelerator: str = "auto") -> str:
    """Return Lightning's precision for this machine: ``bf16-mixed`` where it is fast, else ``32``.

    On a CPU with AVX-512 bf16 or AMX, bf16 halves the time of a step (measured); without them
    it is emulated and slower. CUDA cards of 2020 and later have it.

    Parameters
    ----------
    accelerator : str
        Lightning's name: auto, cpu, gpu, cuda, mps.
    """
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
    if accelerator in ("auto", "cpu") and not _has_mps(accelerator):
        return "bf16-mixed" if has_fast_cpu_bf16() else "32"
    return "32"


def is_channels_last_faster(network: nn.Module, device: str) -> bool:
    """Tell whether a network is faster with the channels of each voxel side by side in memory.

    With batch norm on a CPU a training step is, 1.2 to 1.4 times in 3D and 1.3 to 1.5 times in 2D;
    with instance norm it is slower, 0.8 to 1.0 times (measured). On a GPU it was not measured.

    Parameters
    ----------
    network : Module
    device : str
        Type of the device: cpu, cuda, mps.
    """
    kinds = {type(part) for part in network.modules()}
    batch = any(issubclass(kind, _BatchNorm) for kind in kinds)
    each = any(issubclass(kind, (_InstanceNorm, nn.GroupNorm, nn.LayerNorm)) for kind in kinds)
    return device == "cpu" and batch and not each


def use_channels_last(network: nn.Module, spatial_dims: int) -> None:
    """Keep a network's weights, and with them what it computes, with channels innermost."""
    network.to(memory_format=CHANNELS_LAST[spatial_dims])  # type: ignore[call-overload]


def device_names(accelerator: str, devices: Any) -> list[str]:
    """Return names of the accelerators that a training will use, ``cpu``, ``mps`` or ``cuda-ID``.

    Parameters
    ----------
    accelerator : str
        Lightning's name.
    devices : int, str or list of int
        Lightning's: so many, ``auto`` or -1 for all, or which.
    """
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        every = range(torch.cuda.device_count())
        if isinstance(devices, int) and devices >= 0:
            chosen = list(every)[:devices]
        else:
            chosen = list(every) if isinstance(devices, (str, int)) else [int(d) for d in devices]
        return [f"cuda-{getattr(torch.cuda.get_device_properties(d), 'uuid', d)}" for d in chosen]
    if accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return ["mps"]
    return ["cpu"]


def describe_hardware() -> dict[str, str]:
    """Return what a training ran on: processor, cores, memory, and GPUs with their driver."""
    memory = psutil.virtual_memory().total / 2**30
    found = {
        "cpu": platform.processor() or platform.machine(),
        "cores": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
        "memory_gib": f"{memory:.1f}",
    }
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        if names:
            found["cpu"] = names[0].partition(":")[2].strip()
    if torch.cuda.is_available():
        gpus = [torch.cuda.get_device_properties(n) for n in range(torch.cuda.device_count())]
        found["gpu"] = ", ".join(f"{gpu.name} {gpu.total_memory / 2**30:.0f} GiB" for gpu in gpus)
        found["cuda"] = str(torch.version.cuda)
    return found


def has_fast_cpu_bf16() -> bool:
    """Tell whether the CPU computes in bf16 itself (AVX-512 bf16 or AMX)."""
    tests = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in tests)


def _has_mps(accelerator: str) -> bool:
    return accelerator == "auto" and torch.backends.mps.is_available()


def keep_freed_memory() -> bool:
    """Let this process keep memory that it frees, for the next step needs as much again.

    glibc hands every freed block of more than 128 KiB back to the system, which clears it page by
    page when the next step asks for it: a tenth of a training step, and half of preparing a
    patch (measured). The process then stays as large as its largest step.

    Returns
    -------
    bool
        Whether there was anything to set (Linux with glibc).
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return False
    return bool(mallopt(_MMAP_THRESHOLD, 32 << 20) and mallopt(_TRIM_THRESHOLD, 2**31 - 1))
