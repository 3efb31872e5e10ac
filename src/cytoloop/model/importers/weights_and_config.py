"""Weights-and-config importer: weights with a ``config.json``, as the Segmentation module has them.

The module's guide names the two files, but not the keys of the config. Its schema is therefore
CytoLoop's own, see `docs/reference/models.md`. Unknown keys are refused, because they could
change the prediction. What is missing is taken from the weights, or a default with a warning.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from cytoloop.errors import ModelError
from cytoloop.model.architecture import check_arguments, check_fit, describe, network_class
from cytoloop.model.importers.config_keys import (
    DEFAULT_NORMALIZATION,
    IMAGE_KEYS,
    check_keys,
    parse_normalization,
)
from cytoloop.model.importers.cytodl import is_model as is_cytodl_model
from cytoloop.model.importers.imported_model import ImportedModel, image_settings
from cytoloop.model.importers.networks import (
    check_network,
    default_patch_size,
    parse_patch_size,
)
from cytoloop.model.importers.outputs import to_logits
from cytoloop.model.safe_load import check_weights, load_tensors, read_config
from cytoloop.truth.classes import class_heads, parse_class_names
from cytoloop.truth.plain_names import plain_name

log = logging.getLogger(__name__)

WEIGHTS, CONFIG = "best_model.pth", "config.json"
FILES = WEIGHTS

ALL_OUTPUTS = "all_outputs.pth"
"""Weights of a model with more outputs than the foreground, such as distances, beside `WEIGHTS`."""
_WRAPPERS = ("state_dict", "model_state_dict", "model")


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
    check_keys(where, config)
    outputs: dict[str, Any] = {}
    if "outputs" in config:
        file = path.with_name(ALL_OUTPUTS)
        if file.is_file():
            content, outputs = load_tensors(file), {"heads": [str(n) for n in config["outputs"]]}
        else:
            log.warning(
                "%s: is missing; only the foreground is predicted, without %s",
                file,
                ", ".join(config["outputs"][1:]),
            )
    weights = _network_weights(path, content)
    backbone = _parse_backbone(where, config, weights, len(outputs.get("heads", ())) or None)
    backbone = check_network(str(where), backbone)
    if not outputs:
        backbone, weights, outputs = _parse_outputs(where, config, backbone, weights)
    if "patch_size" in config:
        patch = parse_patch_size(f"{where}, patch_size", config["patch_size"], backbone)
    else:
        patch = default_patch_size(backbone)
        log.warning("%s: states no patch_size; %s is used", where, patch)
    if "normalization" not in config:
        log.warning(
            "%s: states no normalization; %s is used. If the model was trained with another one, "
            "its results are wrong: add the key",
            where,
            DEFAULT_NORMALIZATION,
        )
    known = {key: config[key] for key in IMAGE_KEYS if key in config}
    if "outputs" in config and len(outputs.get("heads", ())) < 2 and "tuned" in known:
        known["tuned"] = {k: v for k, v in known["tuned"].items() if k == "threshold"}
    image = image_settings(backbone, patch, parse_normalization(config), **known, **outputs)
    return ImportedModel(
        weights={f"backbone.{name}": value for name, value in weights.items()},
        backbone=backbone,
        image=image,
        epoch=0,
        step=0,
        summary=f"a {describe(backbone)} (from {where}), patch {patch}, "
        f"normalization {image['normalization']['method']}"
        + (f", outputs {' '.join(outputs['heads'])}" if outputs else ""),
    )


def _parse_outputs(
    where: Path, config: Mapping[str, Any], backbone: dict[str, Any], weights: dict[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Any]]:
    """Return architecture and weights with one logit for each class, and the heads' names.

    A softmax has the background as its first output, with or without a name.

    Raises
    ------
    ModelError
        The number of outputs does not fit the classes or the activation.
    """
    names = [str(name) for name in config.get("classes", ())]
    count = int(backbone["out_channels"])
    has_background = bool(names) and names[0].lower() in ("background", "bg")
    names = names[1:] if has_background else names
    softmax = has_background or (bool(names) and count == len(names) + 1)
    if "activation" in config:
        softmax = config["activation"] == "softmax"
    elif softmax and count == len(names):
        softmax = False  # the background is named, but has no output
    if names and count != len(names) + softmax:
        kind = f"softmax, the background and {len(names)}" if softmax else f"sigmoid, {len(names)}"
        raise ModelError(
            str(where),
            f"names {len(names)} class(es) ({', '.join(names)}), but the network has {count} "
            f"output channels; expected with {kind}",
            "Correct 'classes', or state 'activation': sigmoid or softmax.",
        )
    if softmax:
        backbone, weights = to_logits(str(where), backbone, weights)
        count -= 1
    if count == 1:
        return backbone, weights, {}
    if not names:
        names = list(parse_class_names(count))
        log.warning("%s: names no classes; they are called %s", where, ", ".join(names))
    plain = [plain_name(name) for name in names]
    if plain != names:
        log.warning("%s: its classes are called %s here", where, ", ".join(plain))
    return backbone, weights, {"heads": class_heads(parse_class_names(plain, str(where)))}


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


def _parse_backbone(
    where: Path, config: Mapping[str, Any], weights: Mapping[str, Tensor], outputs: int | None
) -> dict[str, Any]:
    """Return class and arguments of the network.

    The arguments are those of the config, or a UNet's from ``num_features`` and ``num_layers``.

    Parameters
    ----------
    where : Path
    config : mapping
    weights : mapping of str to Tensor
        Tell what the config of a UNet does not state.
    outputs : int or None
        Number of outputs, if it is not that of the config.
    """
    if "architecture" not in config:
        log.warning("%s: states no architecture; it is read as a UNet of MONAI", where)
    target = {"_target_": f"monai.networks.nets.{config.get('architecture', 'UNet')}"}
    if "arguments" in config:
        arguments = dict(config["arguments"])
        return {**target, **arguments, **({"out_channels": outputs} if outputs else {})}
    features, layers = config["num_features"], config["num_layers"]
    if not (2 <= layers <= 8 and 1 <= features <= 1024):
        raise ModelError(
            str(where),
            f"num_features={features}, num_layers={layers}",
            "Expected 1 to 1024 features and 2 to 8 layers.",
        )
    return _fitting_unet(
        where,
        {
            **target,
            **_sizes_of(weights),
            **{
                key: config[key]
                for key in ("spatial_dims", "in_channels", "out_channels")
                if key in config
            },
            "channels": [features * 2**level for level in range(layers)],
            "strides": [2] * (layers - 1),
            "num_res_units": 2,
        },
        weights,
    )


def _sizes_of(weights: Mapping[str, Tensor]) -> dict[str, int]:
    """Return axes, input and output channels of a UNet, from its first and last weights."""
    kernels = [value for value in weights.values() if value.ndim in (4, 5)]
    biases = [value for value in weights.values() if value.ndim == 1]
    return {
        "spatial_dims": kernels[0].ndim - 2 if kernels else 2,
        "in_channels": int(kernels[0].shape[1]) if kernels else 1,
        "out_channels": len(biases[-1]) if biases else 1,
    }


def _fitting_unet(
    where: Path, backbone: dict[str, Any], weights: Mapping[str, Tensor]
) -> dict[str, Any]:
    """Return the UNet with the residual units and normalization layers that the weights have.

    The architecture is returned as it is if none fits; building it raises the reason.
    """
    kind = network_class(str(where), backbone["_target_"])
    check_arguments(str(where), kind, {k: v for k, v in backbone.items() if k != "_target_"})
    norm = "BATCH" if any(key.endswith("running_mean") for key in weights) else "INSTANCE"
    for units in (2, 0, 1, 3, 4):
        tried = {**backbone, "num_res_units": units, "norm": norm}
        try:
            arguments = {key: value for key, value in tried.items() if key != "_target_"}
            check_fit(kind, arguments, weights)
        except (ValueError, RuntimeError):
            continue
        return tried
    return backbone
