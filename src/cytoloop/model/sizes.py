"""Which image sizes a network takes: found by laying it out without memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from cytoloop.errors import CytoloopError
from cytoloop.model.architecture import MetaDeviceMode, network_class

_STEPS = (1, 2, 4, 8, 16, 32, 64)
PROBE_SIDE = 128
"""Side of the image that a network is shown."""
NETWORK_ERRORS = (AssertionError, IndexError, RuntimeError, TypeError, ValueError)
"""What networks raise of an image that they cannot take."""


def build_meta_network(backbone: Mapping[str, Any]) -> torch.nn.Module | None:
    """Return a network without memory for its weights.

    Parameters
    ----------
    backbone : mapping
        ``_target_`` and arguments of a network of MONAI.

    Returns
    -------
    Module or None
        None where the class is not MONAI's or the arguments are wrong: building it for good will
        say what is.
    """
    arguments = {key: value for key, value in backbone.items() if not key.startswith("_")}
    try:
        kind = network_class("model.backbone", str(backbone.get("_target_")))
        with MetaDeviceMode():
            return kind(**arguments)
    except (CytoloopError, *NETWORK_ERRORS):
        return None


def size_multiples(backbone: Mapping[str, Any], dims: int) -> list[int] | None:
    """Return what each side of an image must be a multiple of.

    The network is run on tensors that have a shape and no numbers: axis by axis, the smallest
    power of two by which a side may be longer than 128.

    Parameters
    ----------
    backbone : mapping
        ``_target_`` and arguments of a network of MONAI.
    dims : int
        2 or 3.

    Returns
    -------
    list of int or None
        Per axis, [Z,] Y, X. None where no such size was found: the class is not MONAI's, or takes
        one size only.
    """
    network = build_meta_network(backbone)
    if network is None:
        return None
    network.eval()
    channels = int(backbone.get("in_channels", 1))
    if not _takes(network, [PROBE_SIDE] * dims, channels):
        return None
    found = []
    for axis in range(dims):
        sizes = ([PROBE_SIDE + (n if i == axis else 0) for i in range(dims)] for n in _STEPS)
        fitting = (
            n for n, size in zip(_STEPS, sizes, strict=True) if _takes(network, size, channels)
        )
        found.append(next(fitting, PROBE_SIDE))
    return found


def _takes(network: torch.nn.Module, size: Sequence[int], channels: int) -> bool:
    """Tell whether the network gives an image of the size that it is given."""
    try:
        with torch.inference_mode(), MetaDeviceMode():
            out = network.to("meta")(torch.empty(1, channels, *size, device="meta"))
    except NETWORK_ERRORS:
        return False
    out = out[0] if isinstance(out, (tuple, list)) else out
    return tuple(out.shape[2:]) == tuple(size)
