"""Freeze layers of the network during fine-tuning."""

from __future__ import annotations

import re
from typing import Any

from lightning import Callback, LightningModule, Trainer
from torch import nn

from cytoloop.errors import ConfigError

_BATCH_NORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class FreezeLayers(Callback):
    """Freeze layers for some epochs or for the whole training.

    Lightning's `BaseFinetuning` takes frozen weights out of the optimizer. Here the optimizer holds
    them all the time, so that a run resumes exactly; it skips weights without a gradient. The
    statistics of batch norm in frozen layers do not change either.

    Parameters
    ----------
    names : str
        Regular expression, searched in the names of the network's weights.
    epochs : int, optional
        Number of epochs; None for the whole training.

    Raises
    ------
    ConfigError
        ``names`` is not a regular expression, or ``epochs`` is below 1.
    """

    def __init__(self, names: str, epochs: int | None = None) -> None:
        try:
            self.names = re.compile(names)
        except re.error as error:
            raise ConfigError(
                "callbacks.frozen.names",
                f"{names!r} is not a regular expression: {error}",
                "See configs/finetune/ for examples.",
            ) from error
        if epochs is not None and epochs < 1:
            raise ConfigError("callbacks.frozen.epochs", f"is {epochs}", "Expected 1 or more.")
        self.epochs = epochs

    def check(self, model: LightningModule) -> None:
        """Check that some of the network's weights are frozen and some are not.

        Raises
        ------
        ConfigError
            ``names`` matches none of the weights, or all.
        """
        frozen, total = len(self._frozen_names(model)), len(list(_network(model).parameters()))
        if frozen in (0, total):
            raise ConfigError(
                "callbacks.frozen.names",
                f"matches {frozen} of the network's {total} weights",
                "Expected some of them, not all. Name layers of your network.",
            )

    def _frozen_names(self, model: LightningModule) -> set[str]:
        """Return the names of the weights that are frozen."""
        names = (name for name, _ in _network(model).named_parameters())
        return {name for name in names if self.names.search(name)}

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Freeze or unfreeze the layers for this epoch.

        Raises
        ------
        ConfigError
            See `check`.
        """
        self.check(pl_module)
        frozen = self.epochs is None or trainer.current_epoch < self.epochs
        network, names = _network(pl_module), self._frozen_names(pl_module)
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(not (frozen and name in names))
        for name, module in network.named_modules():
            if self.names.search(f"{name}.") and isinstance(module, _BATCH_NORM):
                module.train(not frozen)


def _network(model: LightningModule) -> nn.Module:
    """Return the network of a model."""
    network: Any = model.backbone
    return network
