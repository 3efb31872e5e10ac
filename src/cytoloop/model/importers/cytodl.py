"""CytoDL checkpoints: `MultiTaskIm2Im` as `cyto_dl.train` and Segmenter ML leave them.

The architecture is in the checkpoint's hyper-parameters, else in the config beside it, else it is
worked out from the weights. How images were prepared is in the config only.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from cytoloop.errors import ModelError, listed
from cytoloop.model.architecture import describe
from cytoloop.model.importers.config_references import lookup
from cytoloop.model.importers.cytodl_transforms import channel_of, normalization_of
from cytoloop.model.importers.infer_dynunet import dynunet_of
from cytoloop.model.importers.networks import (
    ImportedModel,
    check_network,
    check_patch,
    image_of,
    one_logit,
    shrinks,
)
from cytoloop.model.safe_load import check_weights, read_settings

log = logging.getLogger(__name__)

_CONFIGS = ("train_config.yaml", ".hydra/config.yaml")  # the plugin's, and Hydra's own
_HEADS = ("BaseHead", "MaskHead")
"""Heads without layers: what the network gives is the head's logits."""
_PATCH = {2: [64, 64], 3: [16, 64, 64]}


def is_cytodl(content: Any) -> bool:
    """Tell whether a file's content is a Lightning checkpoint of CytoDL's."""
    state = content.get("state_dict") if isinstance(content, Mapping) else None
    return isinstance(state, Mapping) and any(str(key).startswith("backbone.") for key in state)


def config_beside(checkpoint: Path) -> Path | None:
    """Return the config of the training that a checkpoint lies in, None where there is none."""
    folders = (checkpoint.parent, checkpoint.parent.parent)
    files = (folder / name for folder in folders for name in _CONFIGS)
    return next((file for file in files if file.is_file()), None)


def read_cytodl(path: Path, content: Mapping[str, Any]) -> ImportedModel:
    """Read a checkpoint of CytoDL.

    Raises
    ------
    ModelError
        No segmentation model, one with layers or image transforms that CytoLoop has not, an
        architecture that is neither told nor seen, or a config that is refused.
    """
    beside = config_beside(path)
    config = read_settings(beside) if beside else {}
    hparams = content.get("hyper_parameters")
    told = hparams if isinstance(hparams, Mapping) else {}

    def known(key: str) -> Any:
        """Return a value of the model, from the checkpoint before the config."""
        found = lookup({"model": told}, f"model.{key}")
        return lookup(config, f"model.{key}") if found is None else found

    weights = _weights(path, content["state_dict"])
    backbone, source = known("backbone"), "the checkpoint" if told.get("backbone") else str(beside)
    if not isinstance(backbone, Mapping):
        backbone, source = dynunet_of(path, weights), "the shapes of the weights"
        log.warning(
            "%s: the architecture is neither in the file nor in a config beside it; it is worked "
            "out from the weights, with CytoDL's own normalisation layers and activation",
            path,
        )
    where = str(beside) if source == str(beside) else str(path)
    network = check_network(where, backbone)
    softmax = _check_heads(where, known("task_heads"))
    network, weights = one_logit(where, network, weights, softmax)
    patch = known("inference_args.roi_size") or lookup(config, "data._aux.patch_shape")
    if patch is None:
        steps = shrinks(network)
        sides = _PATCH[int(network["spatial_dims"])]
        patch = [-(-side // step) * step for side, step in zip(sides, steps, strict=True)]
        log.warning("%s: the patch size is not known; %s is taken", path, patch)
    rule = normalization_of(beside, config, int(network["in_channels"]))
    if rule is None:
        rule = {"method": "zscore"}
        log.warning(
            "%s: no config beside it (%s) tells how images were prepared: they are normalised by "
            "mean and standard deviation, as CytoDL's segmentation does",
            path,
            " or ".join(_CONFIGS),
        )
    return ImportedModel(
        weights={f"backbone.{name}": value for name, value in weights.items()},
        backbone=network,
        image=image_of(network, check_patch(where, patch, network), rule),
        epoch=_whole(content.get("epoch")),
        step=_whole(content.get("global_step")),
        told=f"a CytoDL model, {describe(network)} (from {source}), patch {patch}, "
        f"normalization {rule['method']}{channel_of(config)}",
    )


def _weights(path: Path, state: Mapping[Any, Any]) -> dict[str, Tensor]:
    """Return the network's weights by their names in it."""
    check_weights(path, state)
    weights, others = {}, []
    for key, value in state.items():
        words = [word for word in key.split(".") if word != "_orig_mod"]  # of torch.compile
        if words[0] == "backbone":
            weights[".".join(words[1:])] = value
        elif words[0] != "task_heads" or words[2:3] != ["loss"]:  # a loss is for training only
            others.append(".".join(words[:3]))
    if others:
        raise ModelError(
            str(path),
            f"has layers besides the network ({listed(sorted(set(others)), 4)})",
            "Of CytoDL's models, those whose heads have no layers are loaded (BaseHead, MaskHead).",
        )
    return weights


def _check_heads(where: str, heads: Any) -> bool:
    """Refuse heads that do not segment; tell whether they are a softmax of two classes."""
    problems, softmax = [], set()
    for name, head in heads.items() if isinstance(heads, Mapping) else ():
        head = head if isinstance(head, Mapping) else {}
        kind = str(head.get("_target_", "")).rpartition(".")[2]
        if kind not in _HEADS:
            problems.append(f"head {name!r} is a {kind[:80]!r}, expected {' or '.join(_HEADS)}")
        loss = head.get("loss")
        loss = loss if isinstance(loss, Mapping) else {}
        learned = str(loss.get("_target_", "")).rpartition(".")[2]
        softmax.add(loss.get("softmax") is True or learned == "CrossEntropyLoss")
        if not (any(softmax) or loss.get("sigmoid") is True or learned == "BCEWithLogitsLoss"):
            problems.append(
                f"head {name!r} learned by {learned[:80] or 'an unknown loss'}, which makes no "
                "probability of its output"
            )
    if len(softmax) > 1:
        problems.append("some heads learned by sigmoid and some by softmax")
    if problems:
        raise ModelError(where, problems, "Only models that segment are loaded.")
    return True in softmax


def _whole(value: Any) -> int:
    return value if isinstance(value, int) else 0
