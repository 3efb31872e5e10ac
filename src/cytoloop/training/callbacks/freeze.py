"""Freeze layers of the network during fine-tuning."""

from __future__ import annotations

import re
from typing import Any

from lightning import Callback, LightningModule, Trainer
from torch import nn

from cytoloop.errors import ConfigError


class FreezeLayers(Callback):
    """Keep some weights as they are, for some epochs or to the end.

    The optimizer holds them all the time, so that a run resumes exactly; what gets no gradient it
    leaves alone. Statistics of batch norm in frozen layers do not move either.

    Parameters
    ----------
    names : str
        Regular expression, searched in the names of the network's weights.
    epochs : int, optional
        None: to the end.
    """

    def __init__(self, names: str, epochs: int | None = None) -> None:
        try:
            self.names = re.compile(names)
        except re.error as error:
            raise ConfigError("callbacks.frozen.names", f"{names!r}: {error}", "") from error
        if epochs is not None and epochs < 1:
            raise ConfigError("callbacks.frozen.epochs", f"is {epochs}", "Expected 1 or more.")
        self.epochs = epochs

    def check(self, model: LightningModule) -> None:
        """Refuse names that leave nothing to freeze or nothing to learn.

        Raises
        ------
        ConfigError
            They fit none of the network's weights, or all.
        """
        chosen, every = len(self._chosen(model)), len(list(_network(model).parameters()))
        if chosen in (0, every):
            raise ConfigError(
                "callbacks.frozen.names",
                f"fits {chosen} of the network's {every} weights",
                "Name the layers of your network: some of them, not all.",
            )

    def _chosen(self, model: LightningModule) -> set[str]:
        names = (name for name, _ in _network(model).named_parameters())
        return {name for name in names if self.names.search(name)}

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Freeze or thaw what the epoch asks for; see `check` for what is refused."""
        self.check(pl_module)
        frozen = self.epochs is None or trainer.current_epoch < self.epochs
        backbone, chosen = _network(pl_module), self._chosen(pl_module)
        for name, parameter in backbone.named_parameters():
            parameter.requires_grad_(not (frozen and name in chosen))
        for name, module in backbone.named_modules():
            if self.names.search(f"{name}.") and isinstance(
                module, nn.modules.batchnorm._BatchNorm
            ):
                module.train(not frozen)


def _network(model: LightningModule) -> nn.Module:
    network: Any = model.backbone
    return network
