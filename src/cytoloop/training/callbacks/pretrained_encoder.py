"""Start from an encoder that was pretrained on other images, read from a local file."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from cytoloop.errors import ModelError, truncate_lines
from cytoloop.model.safe_load import check_weights, load_tensors
from cytoloop.model.transfer import average_channels

log = logging.getLogger(__name__)

_ENCODER = "backbone.encoder."
_CLASSIFIER = ("fc.", "_fc.", "classifier.", "head.")
"""Names of the classifier's layers, which a segmentation does not use."""


class PretrainedEncoder(Callback):
    """Load the weights of the encoder before the first step.

    The names in the file must be those of the encoder; MONAI's ResNets use torchvision's names. If
    the number of input channels differs, the first layer gets the mean over the channels of the
    file, scaled so that equal channels give the same sum.

    Parameters
    ----------
    path : str or Path
        A state dict written by `torch.save`. Weights of the classifier are ignored.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def check(self, model: LightningModule) -> None:
        """Check that the file fits the encoder, before a run is opened.

        Raises
        ------
        ModelError
            Lists every weight that is missing, unknown or of another shape.
        """
        self._encoder_weights(model.state_dict())

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Load the weights.

        Raises
        ------
        ModelError
            See `check`.
        """
        weights = self._encoder_weights(pl_module.state_dict())
        pl_module.load_state_dict(weights, strict=False)
        log.info("encoder: %d weights of %s", len(weights), self.path)

    def _encoder_weights(self, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the encoder's weights by their names in the module."""
        names = [name.removeprefix(_ENCODER) for name in own if name.startswith(_ENCODER)]
        if not names:
            raise ModelError(
                "encoder_weights",
                "the network has no part named `encoder`",
                "Use model/network=pretrained_encoder.",
            )
        content: Any = load_tensors(self.path)
        if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
            content = content["state_dict"]
        if not isinstance(content, Mapping):
            raise ModelError(str(self.path), "contains no weights", "Expected a state dict.")
        given = {k: v for k, v in content.items() if not str(k).startswith(_CLASSIFIER)}
        check_weights(self.path, given)
        problems = [
            f"{name} is not a weight of this encoder" for name in given if name not in names
        ]
        weights = {}
        for name in names:
            wanted = own[_ENCODER + name]
            if name not in given:
                if not name.endswith("num_batches_tracked"):  # it does not affect the output
                    problems.append(f"{name} is missing")
                continue
            weight = _fit_channels(given[name], wanted)
            if weight.shape != wanted.shape:
                problems.append(
                    f"{name} is {tuple(given[name].shape)}, expected {tuple(wanted.shape)}"
                )
            weights[_ENCODER + name] = weight.to(wanted.dtype)
        if problems:
            raise ModelError(
                str(self.path),
                truncate_lines(problems, 10),
                "Give the weights of the encoder that model.backbone.backbone names.",
            )
        return weights


def _fit_channels(given: Tensor, wanted: Tensor) -> Tensor:
    """Return a weight averaged over its input channels, if only their number differs."""
    if given.ndim < 3 or given.ndim != wanted.ndim or given.shape[1] == wanted.shape[1]:
        return given
    if given.shape[2:] != wanted.shape[2:] or len(given) != len(wanted):
        return given
    return average_channels(given.float(), wanted.shape[1])
