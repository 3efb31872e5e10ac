"""Means of losses and scores over an epoch, kept in the checkpoint.

Lightning's own means start anew where a training is resumed in the middle of an epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor


class EpochMeans:
    """Means over the patches of an epoch, of all processes together.

    Sums stay on the device, so that no step waits for it.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._patches = 0

    def add(self, values: Mapping[str, Tensor], patches: int) -> None:
        """Add the means (scalars) of a batch of patches."""
        for name, value in values.items():
            total = value.detach().float() * patches
            self._sums[name] = self._sums[name].to(total) + total if name in self._sums else total
        self._patches += patches

    def reset(self) -> None:
        """Start a new epoch."""
        self._sums, self._patches = {}, 0

    def means(self, gather: Callable[[Tensor], Tensor] | None = None) -> dict[str, Tensor]:
        """Return the means (scalars); empty before the first batch.

        Parameters
        ----------
        gather : callable, optional
            Returns a tensor (S,) of this process with those of all processes, (P, S).
        """
        totals, patches = self._totals(gather)
        return {name: total / patches for name, total in totals.items()} if patches else {}

    def state_dict(self, gather: Callable[[Tensor], Tensor] | None = None) -> dict[str, Any]:
        """Return the sums over all processes as plain numbers; `gather` as in `means`."""
        totals, patches = self._totals(gather)
        return {"sums": {name: float(t) for name, t in totals.items()}, "patches": int(patches)}

    def load_state_dict(self, state: Mapping[str, Any], first: bool = True) -> None:
        """Continue the epoch of a checkpoint; of several processes the first has its sums."""
        self._sums = {
            str(name): torch.tensor(float(total) if first else 0.0)
            for name, total in state["sums"].items()
        }
        self._patches = int(state["patches"]) if first else 0

    def _totals(
        self, gather: Callable[[Tensor], Tensor] | None
    ) -> tuple[dict[str, Tensor], Tensor | int]:
        """Return the sums and the number of patches, of all processes."""
        if gather is None or not self._sums:
            return dict(self._sums), self._patches
        device = max((total.device for total in self._sums.values()), key=lambda one: one.type)
        own = [total.to(device) for total in self._sums.values()]
        own.append(torch.tensor(float(self._patches), device=device))
        *totals, patches = gather(torch.stack(own)).sum(0)
        return dict(zip(self._sums, totals, strict=True)), patches
