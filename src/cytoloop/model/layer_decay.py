"""Layer-wise learning-rate decay: smaller rates for layers nearer to the input."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn


def layer_decay_groups(network: nn.Module, lr: float, decay: float) -> list[dict[str, Any]]:
    """Return the optimizer's parameter groups, one for each stage of the network.

    A stage is a child module of the network, or an item of a child that is a list. The order in
    which networks register them is taken as the order from input to output.

    Parameters
    ----------
    network : Module
    lr : float
        Learning rate of the last stage.
    decay : float
        Factor of the rate from each stage to the stage before it, (0, 1].
    """
    seen: set[int] = set()
    stages = []
    for stage in _stages(network):
        own = [p for p in stage.parameters() if id(p) not in seen]
        seen |= {id(p) for p in own}
        if own:
            stages.append(own)
    last = len(stages) - 1
    return [{"params": own, "lr": lr * decay ** (last - i)} for i, own in enumerate(stages)]


def _stages(network: nn.Module) -> Iterator[nn.Module]:
    """Yield the stages of a network in the order of registration."""
    for child in network.children():
        yield from child if isinstance(child, (nn.ModuleList, nn.Sequential)) else [child]
