"""Start from an encoder that was pretrained on other images, read from a local file."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from cytoloop.errors import ModelError, join_names, truncate_lines
from cytoloop.model.safe_load import check_weights, load_tensors
from cytoloop.model.transfer import average_channels

log = logging.getLogger(__name__)

_ENCODER = "backbone.encoder."
_CLASSIFIER = ("fc.", "_fc.", "classifier.", "head.")
"""Names of the classifier's layers, which a segmentation does not use."""
_DENSE_LAYER = re.compile(r"(denselayer\d+)\.(norm|conv)\.?(\d)\.")
"""Layers of a DenseNet; the files of older torchvisions have ``norm.1`` for ``norm1``."""


class PretrainedEncoder(Callback):
    """Load the weights of the encoder before the first step.

    Weights are found by their names, see `encoder_names`. If the number of input channels differs,
    the first layer gets the mean over the channels of the file, scaled so that equal channels give
    the same sum.

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
        weights, report = self._encoder_weights(pl_module.state_dict())
        pl_module.load_state_dict(weights, strict=False)
        found = "; ".join([f"{len(weights)} weights of {self.path}", *report])
        log.info("encoder: %s", found)

    def _encoder_weights(self, own: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
        """Return the encoder's weights by their names in the module, and what was changed."""
        names = [name.removeprefix(_ENCODER) for name in own if name.startswith(_ENCODER)]
        if not names:
            raise ModelError(
                "encoder_weights",
                "the network has no part named `encoder`",
                "Use model/network=pretrained_encoder, fpn, unetplusplus or deeplabv3plus.",
            )
        content: Any = load_tensors(self.path)
        for key in ("state_dict", "model_state_dict", "model"):
            if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
                content = content[key]
        if not isinstance(content, Mapping):
            raise ModelError(str(self.path), "contains no weights", "Expected a state dict.")
        renamed = encoder_names(map(str, content), names)
        left_out = [name for name, new in renamed.items() if new is None]
        given = {new: content[k] for k, new in renamed.items() if new is not None}
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
                "Give the weights of the encoder that model.backbone.encoder names (of "
                "model/network=pretrained_encoder: model.backbone.backbone).",
            )
        changed = [(name, new) for name, new in renamed.items() if new not in (None, name)]
        report = []
        if changed:
            report.append(f"{len(changed)} names mapped ({changed[0][0]} -> {changed[0][1]})")
        report += [
            f"{name}: {given[name].shape[1]} channels became {own[_ENCODER + name].shape[1]}"
            for name in given
            if name in names and given[name].shape != own[_ENCODER + name].shape
        ]
        if left_out:
            report.append(f"without the classifier ({join_names(left_out)})")
        return weights, report


def encoder_names(given: Iterable[str], names: Sequence[str]) -> dict[str, str | None]:
    """Return the name in the encoder for each name in a file.

    Programs put a prefix before the names (``module.``, ``encoder.``, ``model.backbone.``);
    it is removed where more names fit without it. The layers of torchvision's DenseNets get the
    names that MONAI gives them.

    Parameters
    ----------
    given : iterable of str
        Names in the file.
    names : sequence of str
        Names in the encoder.

    Returns
    -------
    dict of str to str or None
        None for the classifier's layers, which a segmentation does not use. Names that do not fit
        stay as they are.
    """
    known, given = set(names), list(given)
    prefixes = {""} | {name.removesuffix(names[0]) for name in given if name.endswith(names[0])}
    prefix = max(
        sorted(prefixes, key=len),
        key=lambda one: sum(_layer(name.removeprefix(one)) in known for name in given),
    )
    found: dict[str, str | None] = {}
    for name in given:
        short = name.removeprefix(prefix)
        if short.startswith(_CLASSIFIER) and short not in known:
            found[name] = None
        else:
            found[name] = _layer(short) if _layer(short) in known else short
    return found


def _layer(name: str) -> str:
    """Return MONAI's name for a layer of torchvision's DenseNet, others as they are."""
    return _DENSE_LAYER.sub(r"\1.layers.\2\3.", name)


def _fit_channels(given: Tensor, wanted: Tensor) -> Tensor:
    """Return a weight averaged over its input channels, if only their number differs."""
    if given.ndim < 3 or given.ndim != wanted.ndim or given.shape[1] == wanted.shape[1]:
        return given
    if given.shape[2:] != wanted.shape[2:] or len(given) != len(wanted):
        return given
    return average_channels(given.float(), wanted.shape[1])
