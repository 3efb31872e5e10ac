"""Choices that depend on the hardware: precision, memory layout, devices, memory allocation."""

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

from cytoloop.errors import ConfigError

CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}
"""Memory formats by the number of spatial dimensions."""
_BATCH_NORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_SAMPLE_NORM = (
    *(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
    *(nn.GroupNorm, nn.LayerNorm),
)
_MIN_CHANNELS = 16
"""Fewest channels of a 2D batch norm that torch computes in channels-last on a CPU."""
_CPU_INFO = Path("/proc/cpuinfo")  # Linux
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h


def choose_device(accelerator: str) -> torch.device:
    """Return the device of an accelerator.

    Parameters
    ----------
    accelerator : str
        auto, cpu, gpu, cuda or mps.

    Raises
    ------
    ConfigError
        This machine does not have it.
    """
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.device("cuda")
    if accelerator in ("gpu", "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    if accelerator in ("auto", "cpu"):
        return torch.device("cpu")
    raise ConfigError(
        f"accelerator={accelerator}",
        "this machine has no such device",
        "Use accelerator=cpu or accelerator=auto.",
    )


def choose_precision(accelerator: str = "auto") -> str:
    """Return Lightning's precision for this machine.

    On a CPU with AVX-512 bf16 or AMX, bf16 halves the time of a step (measured); other CPUs emulate
    it and are slower. CUDA cards of 2020 and later compute in bf16, older ones in fp16.

    Parameters
    ----------
    accelerator : str
        Lightning's name: auto, cpu, gpu, cuda, mps.

    Returns
    -------
    str
        ``bf16-mixed``, ``16-mixed`` or ``32``.
    """
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
    uses_mps = accelerator == "auto" and torch.backends.mps.is_available()
    if accelerator in ("auto", "cpu") and not uses_mps and has_fast_cpu_bf16():
        return "bf16-mixed"
    return "32"


def has_fast_cpu_bf16() -> bool:
    """Return whether the CPU has instructions for bf16 (AVX-512 bf16 or AMX)."""
    read_capabilities = getattr(torch.cpu, "get_capabilities", None)
    if read_capabilities is not None:
        found = read_capabilities()
        return bool(found.get("avx512_bf16") or found.get("amx_tile"))
    return bool({"avx512_bf16", "amx_tile"} & set(_cpu_info("flags").split()))  # older torch


def is_channels_last_faster(network: nn.Module, device: str) -> bool:
    """Return whether a training step is faster in the channels-last memory format.

    With batch norm on a CPU it is 1.2 to 1.4 times as fast in 3D and 1.3 to 1.5 times in 2D. With
    instance norm it is 0.8 to 1.0 times as fast (measured). GPUs were not measured.

    Parameters
    ----------
    network : Module
    device : str
        Type of the device: cpu, cuda, mps.
    """
    layers = list(network.modules())
    batch = any(isinstance(layer, _BATCH_NORM) for layer in layers)
    sample = any(isinstance(layer, _SAMPLE_NORM) for layer in layers)
    return device == "cpu" and batch and not sample and is_channels_last_safe(network, device)


def is_channels_last_safe(network: nn.Module, device: str) -> bool:
    """Return whether torch computes the network in channels-last without ending the process.

    With torch 2.13 on a CPU, the backward pass of a 2D network with batch norm over fewer than 16
    channels writes beyond its memory, and the process ends with a segmentation fault.

    Parameters
    ----------
    network : Module
    device : str
        Type of the device: cpu, cuda, mps.
    """
    norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    return device != "cpu" or all(norm.num_features >= _MIN_CHANNELS for norm in norms)


def use_channels_last(network: nn.Module, spatial_dims: int) -> None:
    """Convert a network's weights to the channels-last memory format, in place."""
    network.to(memory_format=CHANNELS_LAST[spatial_dims])  # type: ignore[call-overload]


def device_names(accelerator: str, devices: Any) -> list[str]:
    """Return the names of the devices that a training uses: ``cpu``, ``mps`` or ``cuda-ID``.

    Parameters
    ----------
    accelerator : str
        Lightning's name: auto, cpu, gpu, cuda, mps.
    devices : int, str or list of int
        Lightning's value: a number of devices, ``auto`` or -1 for all, or a list of indices.
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
    """Return the hardware of this machine: processor, cores, memory, GPUs and CUDA version."""
    memory = psutil.virtual_memory().total / 2**30
    found = {
        "cpu": _cpu_info("model name") or platform.processor() or platform.machine(),
        "cores": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
        "memory_gib": f"{memory:.1f}",
    }
    if torch.cuda.is_available():
        gpus = [torch.cuda.get_device_properties(n) for n in range(torch.cuda.device_count())]
        found["gpu"] = ", ".join(f"{gpu.name} {gpu.total_memory / 2**30:.0f} GiB" for gpu in gpus)
        found["cuda"] = str(torch.version.cuda)
    return found


def _cpu_info(name: str) -> str:
    """Return an entry of the first processor in /proc/cpuinfo; empty where there is none."""
    if not _CPU_INFO.is_file():
        return ""
    lines = _CPU_INFO.read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def keep_freed_memory() -> bool:
    """Make this process keep the memory that it frees, for the next step; return if it was set.

    glibc returns each freed block of more than 128 KiB to the system, which clears it page by page
    at the next use: 10 % of a training step and half of the time to prepare a patch (measured). The
    process then stays as large as its largest step. Only Linux with glibc has this setting.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return False
    return bool(mallopt(_MMAP_THRESHOLD, 32 << 20) and mallopt(_TRIM_THRESHOLD, 2**31 - 1))
