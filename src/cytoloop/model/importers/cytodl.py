"""CytoDL importer: checkpoints of `MultiTaskIm2Im`, as `cyto_dl.train` and Segmenter ML write them.

The architecture is taken from the checkpoint's hyper-parameters, else from the config of the
training, else inferred from the weights. The image transforms are only in the config.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from cytoloop.errors import ModelError, join_names
from cytoloop.model.architecture import describe
from cytoloop.model.importers.config_references import lookup
from cytoloop.model.importers.cytodl_folder import FILES, find_file
from cytoloop.model.importers.cytodl_heads import read_heads
from cytoloop.model.importers.cytodl_transforms import (
    find_normalization,
    find_zoom,
    trained_channel,
)
from cytoloop.model.importers.imported_model import ImportedModel, image_settings
from cytoloop.model.importers.infer_dynunet import infer_dynunet
from cytoloop.model.importers.networks import (
    check_network,
    default_patch_size,
    parse_patch_size,
)
from cytoloop.model.importers.outputs import to_logits
from cytoloop.model.safe_load import check_weights, read_config
from cytoloop.truth.classes import class_heads, parse_class_names

__all__ = ["CONFIG_KEY", "FILES", "find_file", "is_model", "read"]

log = logging.getLogger(__name__)

CONFIG_KEY = "cytodl_config"
"""Key of a checkpoint for its resolved config, which `cytoloop train` stores."""

_CONFIGS = ("train_config.yaml", ".hydra/config.yaml")
"""Configs of a training: that of Segmenter ML, and that of Hydra."""


def is_model(path: Path, content: Any) -> bool:
    """Return whether the content of a file is a Lightning checkpoint of CytoDL."""
    state = content.get("state_dict") if isinstance(content, Mapping) else None
    return isinstance(state, Mapping) and any(str(key).startswith("backbone.") for key in state)


def read(path: Path, content: Any) -> ImportedModel:
    """Return the model of a CytoDL checkpoint.

    Raises
    ------
    ModelError
        A model without an equal form here, heads with layers, image transforms without an equal
        rule, an unknown architecture, or a config that is refused.
    """
    config, config_file = content.get(CONFIG_KEY), path
    if not isinstance(config, Mapping):
        found_file = _find_config(path)
        config, config_file = (read_config(found_file), found_file) if found_file else ({}, path)
    hparams = content.get("hyper_parameters")
    hparams = hparams if isinstance(hparams, Mapping) else {}

    def find(key: str) -> Any:
        """Return a value of the model from the checkpoint, else from the config."""
        found = lookup({"model": hparams}, f"model.{key}")
        return lookup(config, f"model.{key}") if found is None else found

    weights = _network_weights(path, content["state_dict"])
    backbone = find("backbone")
    in_file = hparams.get("backbone") or config_file == path
    source = "the checkpoint" if in_file else str(config_file)
    if not isinstance(backbone, Mapping):
        backbone, source = infer_dynunet(path, weights), "the shapes of the weights"
        log.warning(
            "%s: has no architecture, and no config beside it has one; it is inferred from the "
            "weights, with CytoDL's default normalization layers and activation",
            path,
        )
    where = str(config_file) if source == str(config_file) else str(path)
    network = check_network(where, backbone)
    heads = read_heads(where, find("task_heads"), network)
    known: dict[str, Any] = {}
    if heads.output is None:
        if heads.softmax:
            network, weights = to_logits(where, network, weights)
        known = _classes(where, int(network["out_channels"]), heads.softmax)
    patch = find("inference_args.roi_size") or lookup(config, "data._aux.patch_shape")
    if patch is None:
        patch = default_patch_size(network)
        log.warning("%s: states no patch size; %s is used", path, patch)
    rule = find_normalization(config_file, config, int(network["in_channels"]))
    if rule is None:
        rule = {"method": "zscore"}
        log.warning(
            "%s: no config beside it (%s) states how images were transformed; they are normalized "
            "by mean and standard deviation, the default of CytoDL's segmentation",
            path,
            " or ".join(_CONFIGS),
        )
    channel, dims = trained_channel(config), int(network["spatial_dims"])
    zoom = find_zoom(config, dims)
    known |= ({"zoom": zoom} if zoom else {}) | heads.image_settings()
    return ImportedModel(
        weights={f"backbone.{name}": value for name, value in weights.items()},
        backbone=network,
        image=image_settings(network, parse_patch_size(where, patch, network), rule, **known),
        epoch=_whole_number(content.get("epoch")),
        step=_whole_number(content.get("global_step")),
        summary=f"a CytoDL model, {describe(network)} (from {source}), patch {patch}, "
        f"normalization {rule['method']}"
        + (f", images zoomed by {zoom}" if zoom else "")
        + ("" if channel is None else f", trained on channel={channel} of its files"),
    )


def _classes(where: str, count: int, softmax: bool) -> dict[str, Any]:
    """Return the heads of a model of several classes, which CytoDL's config does not name.

    Raises
    ------
    ModelError
        Several outputs with a sigmoid: they may be anything.
    """
    if count == 1:
        return {}
    if not softmax:
        raise ModelError(
            where,
            f"has {count} output channels with sigmoid, expected one",
            "Train it with one output channel.",
        )
    names = parse_class_names(count, where)
    log.warning("%s: its classes have no names; they are called %s", where, ", ".join(names))
    return {"heads": class_heads(names)}


def _find_config(checkpoint: Path) -> Path | None:
    """Return the config in the checkpoint's folder or the folder above, None if there is none."""
    folders = (checkpoint.parent, checkpoint.parent.parent)
    files = (folder / name for folder in folders for name in _CONFIGS)
    return next((file for file in files if file.is_file()), None)


def _network_weights(path: Path, state: Mapping[Any, Any]) -> dict[str, Tensor]:
    """Return the weights of the network, by their names in the network."""
    weights, others = {}, []
    for key, value in state.items():
        words = [
            word for word in str(key).split(".") if word != "_orig_mod"
        ]  # added by torch.compile
        if words[0] == "backbone":
            weights[".".join(words[1:])] = value
        elif words[0] != "task_heads" or words[2:3] != ["loss"]:  # losses are for training only
            others.append(".".join(words[:3]))
    if others:
        raise ModelError(
            str(path),
            f"has layers outside the network ({join_names(sorted(set(others)), 4)})",
            "Only CytoDL models whose heads have no layers are loaded: BaseHead, MaskHead.",
        )
    check_weights(path, state)
    return weights


def _whole_number(value: Any) -> int:
    return value if isinstance(value, int) else 0
