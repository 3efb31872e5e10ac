"""Weights with a ``config.json`` beside them, as the Segmentation module leaves them.

The module's guide names the two files and not their keys, so the schema is ours; `docs/models.md`
has it. It is strict: a key that is not known could change the prediction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from cytoloop.errors import ModelError
from cytoloop.intensity.normalization import METHODS, rule_faults
from cytoloop.model.architecture import describe
from cytoloop.model.importers.networks import (
    NETWORKS,
    ImportedModel,
    check_network,
    check_patch,
    image_of,
    one_logit,
)
from cytoloop.model.safe_load import check_weights, read_settings

WEIGHTS, CONFIG = "best_model.pth", "config.json"

_REQUIRED = ("architecture", "normalization", "patch_size")
IMAGE_KEYS = ("channel_names", "spacing_um", "object_voxels", "tuned")
"""What a config may tell of images, besides what it must."""
_SIZES = ("spatial_dims", "in_channels", "out_channels", "num_features", "num_layers")
_OF_TRAINING = {  # what the module lets a person set, and no prediction needs
    *("patches_per_image", "batch_size", "augmentation", "learning_rate", "num_epochs"),
    *("name", "created", "version"),
}
_OF_METHOD = {"percentile": {"lower", "upper"}, "range": {"minimum", "maximum"}}
_WRAPPERS = ("state_dict", "model_state_dict")


def read_pair(path: Path, content: Mapping[Any, Any]) -> ImportedModel:
    """Read weights by the ``config.json`` beside them.

    Raises
    ------
    ModelError
        The config is faulty (all faults at once), or the file holds no weights.
    """
    where = path.parent / CONFIG
    config = read_settings(where)
    _check_keys(where, config)
    backbone = check_network(str(where), _backbone(where, config))
    patch = check_patch(f"{where}, patch_size", config["patch_size"], backbone)
    image = image_of(
        backbone, patch, _normalization(config), **{k: config[k] for k in IMAGE_KEYS if k in config}
    )
    softmax = config.get("activation", "sigmoid") == "softmax"
    backbone, weights = one_logit(str(where), backbone, _weights(path, content), softmax)
    return ImportedModel(
        weights={f"backbone.{name}": value for name, value in weights.items()},
        backbone=backbone,
        image=image,
        epoch=0,
        step=0,
        told=f"a {describe(backbone)} (from {where}), patch {patch}, "
        f"normalization {image['normalization']['method']}",
    )


def _weights(path: Path, content: Mapping[Any, Any]) -> dict[str, Tensor]:
    """Return the network's weights by their names in it."""
    inner = [content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)]
    state = inner[0] if inner else content
    check_weights(path, state)
    for prefix in ("module.", "_orig_mod.", "backbone."):  # of DataParallel, of torch.compile
        if state and all(key.startswith(prefix) for key in state):
            state = {key[len(prefix) :]: value for key, value in state.items()}
    return dict(state)


def _backbone(where: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return class and arguments of the network: MONAI's own, or worked out from two numbers."""
    target = {"_target_": f"monai.networks.nets.{config['architecture']}"}
    if "arguments" in config:
        return {**target, **config["arguments"]}
    features, layers = config["num_features"], config["num_layers"]
    if not (2 <= layers <= 8 and 1 <= features <= 1024):
        raise ModelError(
            str(where),
            f"num_features={features}, num_layers={layers}",
            "Expected 1 to 1024 features and 2 to 8 layers.",
        )
    return {
        **target,
        "spatial_dims": config.get("spatial_dims", 2),
        "in_channels": config.get("in_channels", 1),
        "out_channels": config.get("out_channels", 1),
        "channels": [features * 2**level for level in range(layers)],
        "strides": [2] * (layers - 1),
        "num_res_units": 2,
    }


def _check_keys(where: Path, config: Mapping[str, Any]) -> None:
    """Refuse a config with keys that are missing, unknown or of a wrong kind.

    Raises
    ------
    ModelError
        All of them at once.
    """
    known = {*_REQUIRED, *IMAGE_KEYS, *_SIZES, *_OF_TRAINING, "arguments", "activation"}
    problems = [f"{key[:60]!r} is not known" for key in config if key not in known]
    problems += [f"{key!r} is missing" for key in _REQUIRED if key not in config]
    if config.get("architecture", NETWORKS[0]) not in NETWORKS:
        name = str(config["architecture"])[:120]
        problems.append(f"architecture {name!r}, expected one of {', '.join(NETWORKS)}")
    if "arguments" in config:
        if not isinstance(config["arguments"], Mapping):
            problems.append("'arguments' is no table of the network's arguments")
        elif twice := [key for key in _SIZES if key in config]:
            problems.append(f"{', '.join(twice)}: told by 'arguments' already")
    else:
        if config.get("architecture", "UNet") != "UNet":
            problems.append("'arguments' is missing; only a UNet is told by num_features alone")
        sizes = ("num_features", "num_layers")
        problems += [f"{key!r} is missing" for key in sizes if key not in config]
    problems += [
        f"{key} is {config[key]!r}, expected a whole number"
        for key in _SIZES
        if key in config and not _is_whole(config[key])
    ]
    if (activation := config.get("activation", "sigmoid")) not in ("sigmoid", "softmax"):
        problems.append(f"activation {str(activation)[:60]!r}, expected sigmoid or softmax")
    problems += _faults_of_image(config)
    if problems:
        raise ModelError(str(where), problems, "docs/models.md tells what config.json holds.")


def _faults_of_image(config: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with what the config tells of images."""
    problems = []
    rule = _normalization(config)
    method = rule.get("method")
    extra = _OF_METHOD.get(str(method), set())
    if method not in METHODS:
        problems.append(f"normalization {str(method)[:60]!r}, expected {', '.join(METHODS)}")
    elif set(rule) - {"method"} != extra or not all(_is_number(rule[key]) for key in extra):
        wanted = " and ".join(sorted(extra)) or "nothing but its method"
        problems.append(f"normalization {method} takes {wanted}")
    else:
        problems += [f"normalization {key} {fault}" for key, fault in rule_faults(rule)]
    spacing, names = config.get("spacing_um"), config.get("channel_names", [])
    if spacing is not None and not (
        isinstance(spacing, list)
        and len(spacing) == 3
        and all(_is_number(n) and n > 0 for n in spacing)
    ):
        problems.append("spacing_um: expected three numbers above 0, Z, Y, X")
    if not isinstance(names, list) or not all(isinstance(n, str) and len(n) < 100 for n in names):
        problems.append("channel_names: expected a list of names")
    voxels = config.get("object_voxels")
    if voxels is not None and not (_is_number(voxels) and voxels >= 0):
        problems.append("object_voxels: expected a number, the mean size of an object")
    tuned = config.get("tuned", {})
    if not isinstance(tuned, Mapping) or not all(_is_number(n) for n in tuned.values()):
        problems.append("tuned: expected names with numbers, chosen in training")
    return problems


def _normalization(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rule, which may be told by its method alone."""
    rule = config.get("normalization", "none")
    return dict(rule) if isinstance(rule, Mapping) else {"method": rule}


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
