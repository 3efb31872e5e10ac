"""Networks whose size can be planned: one adapter each.

An adapter turns planned levels, features, strides and kernels into the arguments of a class, and
back. A network without an adapter is used with the arguments that the config gives it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cytoloop.model.networks import dynunet, residual_encoder
from cytoloop.model.networks.planned import PlannedNetwork

__all__ = ["ADAPTERS", "DYNUNET", "PlannedNetwork", "network_arguments", "planned_values"]

DYNUNET = dynunet.TARGET
ADAPTERS: Mapping[str, Any] = {one.TARGET: one for one in (dynunet, residual_encoder)}
"""Class path to its adapter: ``arguments(planned, spacing)`` and ``values(backbone)``."""


def network_arguments(
    target: str, planned: PlannedNetwork, spacing: Sequence[float]
) -> dict[str, Any]:
    """Return the arguments that make a class the planned network; none without an adapter.

    Parameters
    ----------
    target : str
        Path of the class.
    planned : PlannedNetwork
    spacing : sequence of float
        Voxel size, [Z,] Y, X.
    """
    adapter = ADAPTERS.get(target)
    return adapter.arguments(planned, spacing) if adapter else {}


def planned_values(backbone: Mapping[str, Any]) -> dict[str, Any]:
    """Return the planned values of a network: ``features``, ``layers`` and its own arguments.

    Parameters
    ----------
    backbone : mapping
        ``_target_`` and arguments, as a checkpoint holds them. They may be anyone's: check them.
    """
    adapter = ADAPTERS.get(str(backbone.get("_target_")))
    return adapter.values(backbone) if adapter else {}
