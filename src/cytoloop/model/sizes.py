"""Image sizes that a network accepts, found by running it on torch's meta device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from cytoloop.errors import CytoloopError
from cytoloop.model.architecture import MetaDeviceMode, network_class
from cytoloop.model.trust import build_trusted, is_trusted

_STEPS = (1, 2, 4, 8, 16, 32, 64)
PROBE_SIDE = 128
"""Side of the image that a network is tested with."""
NETWORK_ERRORS = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError),
    *(RuntimeError, TypeError, ValueError),
)
"""Errors that networks raise for images that they do not accept."""


def build_meta_network(backbone: Mapping[str, Any]) -> torch.nn.Module | None:
    """Return a network on the meta device, without memory for its weights.

    Parameters
    ----------
    backbone : mapping
        ``_target_`` and arguments of a network of a known library or a trusted package.

    Returns
    -------
    Module or None
        None if the class is not known or the arguments are invalid. Building the real network
        reports the reason.
    """
    where, target = "model.backbone", str(backbone.get("_target_"))
    arguments = {key: value for key, value in backbone.items() if not key.startswith("_")}
    try:
        if is_trusted(target):
            with MetaDeviceMode():
                network = build_trusted(where, backbone, lambda other: network_class(where, other))
            return network if isinstance(network, torch.nn.Module) else None
        kind = network_class(where, target)
        with MetaDeviceMode():
            return kind(**arguments)
    except (CytoloopError, *NETWORK_ERRORS):
        return None


def size_multiples(backbone: Mapping[str, Any], dims: int) -> list[int] | None:
    """Return the number that each side of an image must be a multiple of.

    For each axis, it is the smallest power of two up to 64 by which a side of 128 can be extended.

    Parameters
    ----------
    backbone : mapping
        ``_target_`` and arguments of a network.
    dims : int
        2 or 3.

    Returns
    -------
    list of int or None
        Per axis, [Z,] Y, X. An axis that cannot be extended by up to 64 gets 128. None if the
        class is not known, the arguments are invalid, or sides of 128 are not accepted.
    """
    network = build_meta_network(backbone)
    if network is None:
        return None
    network.eval()
    channels = int(backbone.get("in_channels", 1))
    if not _accepts(network, [PROBE_SIDE] * dims, channels):
        return None
    found = []
    for axis in range(dims):
        sizes = ([PROBE_SIDE + (n if i == axis else 0) for i in range(dims)] for n in _STEPS)
        fitting = (
            n for n, size in zip(_STEPS, sizes, strict=True) if _accepts(network, size, channels)
        )
        found.append(next(fitting, PROBE_SIDE))
    return found


def _accepts(network: torch.nn.Module, size: Sequence[int], channels: int) -> bool:
    """Return whether the network's output has the size of its input."""
    try:
        with torch.inference_mode(), MetaDeviceMode():
            out = network.to("meta")(torch.empty(1, channels, *size, device="meta"))
        out = out[0] if isinstance(out, (tuple, list)) else out
        return tuple(out.shape[2:]) == tuple(size)
    except NETWORK_ERRORS:
        return False
