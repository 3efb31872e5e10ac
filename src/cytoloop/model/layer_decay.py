"""Learning rates that fall from the output of a network towards its input."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn


def layer_decay_groups(network: nn.Module, lr: float, decay: float) -> list[dict[str, Any]]:
    """Return the weights of a network in groups whose rate falls towards the input.

    A stage is a child of the network, or an item of one that is a list; networks register them
    from the input to the output.

    Parameters
    ----------
    network : Module
    lr : float
        Of the last stage.
    decay : float
        From one stage to the one before it, (0, 1].
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
    for child in network.children():
        yield from child if isinstance(child, (nn.ModuleList, nn.Sequential)) else [child]
