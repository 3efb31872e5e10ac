"""Weights-and-config importer: weights with a ``config.json``, as the Segmentation module has them.

The module's guide names the two files, but not the keys of the config. Its schema is therefore
CytoLoop's own, see `docs/reference/models.md`. Unknown keys are refused, because they could
change the prediction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from cytoloop.errors import ModelError
from cytoloop.intensity.normalization import METHODS, rule_problems
from cytoloop.model.architecture import describe
from cytoloop.model.importers.cytodl import is_model as is_cytodl_model
from cytoloop.model.importers.imported_model import ImportedModel, image_settings
from cytoloop.model.importers.networks import (
    NETWORKS,
    check_network,
    parse_patch_size,
    to_one_logit,
)
from cytoloop.model.safe_load import check_weights, read_config

WEIGHTS, CONFIG = "best_model.pth", "config.json"
FILES = WEIGHTS

_REQUIRED = ("architecture", "normalization", "patch_size")
IMAGE_KEYS = ("channel_names", "spacing_um", "resample", "object_voxels", "tuned")
"""Optional image settings of a config."""
_SIZES = ("spatial_dims", "in_channels", "out_channels", "num_features", "num_layers")
_IGNORED = {
    *("patches_per_image", "batch_size", "augmentation", "learning_rate", "num_epochs"),
    *("name", "created", "version"),
}
"""Training settings of the Segmentation module, and notes."""
_METHOD_KEYS = {"percentile": {"lower", "upper"}, "range": {"minimum", "maximum"}}
_WRAPPERS = ("state_dict", "model_state_dict")


def find_file(folder: Path) -> Path | None:
    """Return ``best_model.pth`` of a folder, None if there is none."""
    file = folder / WEIGHTS
    return file if file.is_file() else None


def is_model(path: Path, content: Any) -> bool:
    """Return whether a file has a ``config.json`` beside it.

    A CytoDL checkpoint is left to the CytoDL importer, unless it is a ``.pth`` file.
    """
    paired = isinstance(content, Mapping) and (path.parent / CONFIG).is_file()
    return paired and (path.suffix == ".pth" or not is_cytodl_model(path, content))


def read(path: Path, content: Any) -> ImportedModel:
    """Return the model of weights and the ``config.json`` beside them.

    Raises
    ------
    ModelError
        All faults of the config; or the file contains no weights, or they do not fit.
    """
    where = path.parent / CONFIG
    config = read_config(where)
    _check_keys(where, config)
    backbone = check_network(str(where), _parse_backbone(where, config))
    patch = parse_patch_size(f"{where}, patch_size", config["patch_size"], backbone)
    known = {key: config[key] for key in IMAGE_KEYS if key in config}
    image = image_settings(backbone, patch, _parse_normalization(config), **known)
    softmax = config.get("activation", "sigmoid") == "softmax"
    weights = _network_weights(path, content)
    backbone, weights = to_one_logit(str(where), backbone, weights, softmax)
    return ImportedModel(
        weights={f"backbone.{name}": value for name, value in weights.items()},
        backbone=backbone,
        image=image,
        epoch=0,
        step=0,
        summary=f"a {describe(backbone)} (from {where}), patch {patch}, "
        f"normalization {image['normalization']['method']}",
    )


def _network_weights(path: Path, content: Mapping[Any, Any]) -> dict[str, Tensor]:
    """Return the weights of the network, by their names in the network."""
    inner = [content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)]
    state = inner[0] if inner else content
    check_weights(path, state)
    # prefixes of DataParallel, torch.compile and Lightning modules
    for prefix in ("module.", "_orig_mod.", "backbone."):
        if state and all(key.startswith(prefix) for key in state):
            state = {key[len(prefix) :]: value for key, value in state.items()}
    return dict(state)


def _parse_backbone(where: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return class and arguments of the network.

    The arguments are those of the config, or a UNet's from ``num_features`` and ``num_layers``.
    """
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
    """Raise an error if keys are missing, unknown or have invalid values.

    Raises
    ------
    ModelError
        All faults.
    """
    known = {*_REQUIRED, *IMAGE_KEYS, *_SIZES, *_IGNORED, "arguments", "activation"}
    problems = [f"{key[:60]!r} is not known" for key in config if key not in known]
    problems += [f"{key!r} is missing" for key in _REQUIRED if key not in config]
    if config.get("architecture", NETWORKS[0]) not in NETWORKS:
        name = str(config["architecture"])[:120]
        problems.append(f"architecture {name!r}, expected one of {', '.join(NETWORKS)}")
    if "arguments" in config:
        if not isinstance(config["arguments"], Mapping):
            problems.append("'arguments' is not a mapping of the network's arguments")
        elif twice := [key for key in _SIZES if key in config]:
            problems.append(f"{', '.join(twice)}: not allowed together with 'arguments'")
    else:
        if config.get("architecture", "UNet") != "UNet":
            problems.append("'arguments' is missing; only a UNet can have num_features instead")
        sizes = ("num_features", "num_layers")
        problems += [f"{key!r} is missing" for key in sizes if key not in config]
    problems += [
        f"{key} is {config[key]!r}, expected a whole number"
        for key in _SIZES
        if key in config and not _is_whole(config[key])
    ]
    if (activation := config.get("activation", "sigmoid")) not in ("sigmoid", "softmax"):
        problems.append(f"activation {str(activation)[:60]!r}, expected sigmoid or softmax")
    problems += _image_faults(config)
    if problems:
        raise ModelError(
            str(where), problems, "See docs/reference/models.md for the keys of config.json."
        )


def _image_faults(config: Mapping[str, Any]) -> list[str]:
    """Return the faults of the config's image settings."""
    problems = []
    rule = _parse_normalization(config)
    method = rule.get("method")
    extra = _METHOD_KEYS.get(str(method), set())
    if method not in METHODS:
        problems.append(f"normalization {str(method)[:60]!r}, expected {', '.join(METHODS)}")
    elif set(rule) - {"method"} != extra or not all(_is_number(rule[key]) for key in extra):
        keys = " and ".join(sorted(extra)) or "no key besides its method"
        problems.append(f"normalization {method}, expected with {keys}")
    else:
        problems += [f"normalization {key} {fault}" for key, fault in rule_problems(rule)]
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
    if not isinstance(config.get("resample", False), bool):
        problems.append("resample: expected true or false")
    tuned = config.get("tuned", {})
    if not isinstance(tuned, Mapping) or not all(_is_number(n) for n in tuned.values()):
        problems.append("tuned: expected a mapping of names to numbers")
    return problems


def _parse_normalization(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the normalization rule; a text is the rule's method."""
    rule = config.get("normalization", "none")
    return dict(rule) if isinstance(rule, Mapping) else {"method": rule}


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
