"""The keys of a model's ``config.json``: which there are, and which values they may have."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cytoloop.bounds import AUTO
from cytoloop.errors import ModelError
from cytoloop.intensity.normalization import METHODS, rule_problems
from cytoloop.model.importers.networks import NETWORKS

_KEYS = (
    *("architecture", "arguments", "activation", "classes", "outputs"),
    *("normalization", "patch_size"),
)
DEFAULT_NORMALIZATION = "minmax"
IMAGE_KEYS = (
    *("channel_names", "spacing_um", "planes", "resample"),
    *("object_voxels", "fill_holes", "tuned"),
)
"""Optional image settings of a config."""
_SIZES = ("spatial_dims", "in_channels", "out_channels", "num_features", "num_layers")
_IGNORED = {
    *("patches_per_image", "batch_size", "augmentation", "learning_rate", "num_epochs"),
    *("name", "created", "version"),
}
"""Training settings of the Segmentation module, and notes."""
_METHOD_KEYS = {"percentile": {"lower", "upper"}, "range": {"minimum", "maximum"}}


def check_keys(where: Path, config: Mapping[str, Any]) -> None:
    """Raise an error if keys are missing, unknown or have invalid values.

    Raises
    ------
    ModelError
        All faults.
    """
    known = {*_KEYS, *IMAGE_KEYS, *_SIZES, *_IGNORED}
    problems = [f"{key[:60]!r} is not known" for key in config if key not in known]
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
    for key in ("classes", "outputs"):
        names = config.get(key, ["foreground"])
        if not (isinstance(names, list) and names and all(isinstance(n, str) and n for n in names)):
            problems.append(f"{key} is {str(names)[:60]!r}, expected a list of names")
    problems += _image_faults(config)
    if problems:
        raise ModelError(
            str(where),
            problems,
            "config.json needs spatial_dims, in_channels, num_features and num_layers of a UNet, "
            "or architecture and arguments.",
        )


def _image_faults(config: Mapping[str, Any]) -> list[str]:
    """Return the faults of the config's image settings."""
    problems = []
    rule = parse_normalization(config)
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
    problems += [
        f"{key}: expected true or false"
        for key in ("planes", "resample")
        if not isinstance(config.get(key, False), bool)
    ]
    if config.get("fill_holes", AUTO) not in (True, False, AUTO):
        problems.append("fill_holes: expected true, false or auto")
    tuned = config.get("tuned", {})
    if not isinstance(tuned, Mapping) or not all(_is_number(n) for n in tuned.values()):
        problems.append("tuned: expected a mapping of names to numbers")
    return problems


def parse_normalization(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the normalization rule; a text is the rule's method."""
    rule = config.get("normalization", DEFAULT_NORMALIZATION)
    return dict(rule) if isinstance(rule, Mapping) else {"method": rule}


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
