"""Start with an encoder that was pretrained on other images, from a file on this machine."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from cytoloop.errors import ModelError, shortened
from cytoloop.model.safe_load import check_weights, load_tensors
from cytoloop.model.transfer import averaged

log = logging.getLogger(__name__)

_ENCODER = "backbone.encoder."
_CLASSIFIER = ("fc.", "_fc.", "classifier.", "head.")
"""What names images, which a segmentation has no use for."""


class PretrainedEncoder(Callback):
    """Load the weights of an encoder before the first step.

    Names must be those of the encoder (MONAI's ResNets have torchvision's). A first layer of
    other channels gets the mean over the former ones, scaled so that equal channels give the same
    sum.

    Parameters
    ----------
    path : str or Path
        A state dict as `torch.save` writes it; what classifies images is left out.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def check(self, model: LightningModule) -> None:
        """Refuse a file that does not fit, before a run is opened.

        Raises
        ------
        ModelError
            Every weight that is missing, superfluous or of another shape.
        """
        self._fitted(model.state_dict())

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Load the weights.

        Raises
        ------
        ModelError
            As `check`.
        """
        found = self._fitted(pl_module.state_dict())
        pl_module.load_state_dict(found, strict=False)
        log.info("encoder: %d weights of %s", len(found), self.path)

    def _fitted(self, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the encoder's weights by their names in the module."""
        names = [name.removeprefix(_ENCODER) for name in own if name.startswith(_ENCODER)]
        if not names:
            raise ModelError(
                "encoder_weights",
                "the network has no part named `encoder`",
                "Take model/network=pretrained_encoder.",
            )
        content: Any = load_tensors(self.path)
        if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
            content = content["state_dict"]
        if not isinstance(content, Mapping):
            raise ModelError(str(self.path), "holds no weights", "Expected a state dict.")
        given = {k: v for k, v in content.items() if not str(k).startswith(_CLASSIFIER)}
        check_weights(self.path, given)
        problems = [f"{name} is no weight of this encoder" for name in given if name not in names]
        fitted = {}
        for name in names:
            wanted = own[_ENCODER + name]
            if name not in given:
                # how many batches were seen has no part in what a network says
                if not name.endswith("num_batches_tracked"):
                    problems.append(f"{name} is missing")
                continue
            weight = _of_channels(given[name], wanted)
            if weight.shape != wanted.shape:
                problems.append(
                    f"{name} is {tuple(given[name].shape)}, expected {tuple(wanted.shape)}"
                )
            fitted[_ENCODER + name] = weight.to(wanted.dtype)
        if problems:
            raise ModelError(
                str(self.path),
                shortened(problems, 10),
                "Give weights of the encoder that model.backbone.backbone names.",
            )
        return fitted


def _of_channels(given: Tensor, wanted: Tensor) -> Tensor:
    """Return a weight for as many input channels as wanted, where nothing else differs."""
    if given.ndim < 3 or given.ndim != wanted.ndim or given.shape[1] == wanted.shape[1]:
        return given
    if given.shape[2:] != wanted.shape[2:] or len(given) != len(wanted):
        return given
    return averaged(given.float(), wanted.shape[1])
