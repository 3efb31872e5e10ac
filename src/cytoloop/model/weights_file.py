"""Weights as ``NAME.safetensors`` with their settings in ``NAME.json``: only data, no pickle.

Weights are stored in half precision. The shipped models are such files. A tensor that a network
knows by several names is stored once; ``aliases`` of the settings name it by the others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from cytoloop.errors import ModelError
from cytoloop.io.atomic import replacing
from cytoloop.io.file_kind import special_kind
from cytoloop.model.safe_load import check_weights, read_config

SUFFIX = ".safetensors"
_PARTS = ("backbone", "image")
_REPAIR = "Copy it again; a shipped model comes back with `pip install --force-reinstall cytoloop`."


@dataclass(frozen=True)
class WeightsFile:
    """Content of a weights file and its settings.

    Attributes
    ----------
    weights : dict of str to Tensor
        Single precision.
    backbone, image : dict
        As in `cytoloop.model.checkpoint.Checkpoint`.
    epoch, step : int
    """

    weights: dict[str, Tensor]
    backbone: dict[str, Any]
    image: dict[str, Any]
    epoch: int
    step: int


def read_weights_file(path: Path) -> WeightsFile:
    """Return the weights in a file, and the settings beside it.

    Raises
    ------
    ModelError
        One of the files is missing, damaged, or holds something else.
    """
    if not path.is_file():
        found = special_kind(path)
        raise ModelError(str(path), f"is {found}" if found else "no such file", _REPAIR)
    settings = path.with_suffix(".json")
    if not settings.is_file():
        problem = f"its settings are missing: {settings.name}"
        raise ModelError(str(path), problem, "Keep the two files together.")
    content = read_config(settings)
    if missing := [part for part in _PARTS if not isinstance(content.get(part), Mapping)]:
        found = f"lacks a part of a model: {', '.join(missing)}"
        raise ModelError(str(settings), found, "Restore the file that came with the weights.")
    try:
        weights = load_file(path)  # checks that the tensors fill the file exactly
    except (SafetensorError, OSError, ValueError, KeyError, AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160]
        problem = f"is not a readable weights file, damaged or cut off: {reason}"
        raise ModelError(str(path), problem, _REPAIR) from error
    check_weights(path, weights)
    weights |= _aliases(settings, content.get("aliases", {}), weights)
    return WeightsFile(
        {k: v.float() if v.is_floating_point() else v for k, v in weights.items()},
        dict(content["backbone"]),
        dict(content["image"]),
        _whole(content.get("epoch")),
        _whole(content.get("step")),
    )


def write_weights_file(path: Path, model: WeightsFile) -> None:
    """Write weights in half precision, and the settings beside them.

    Parameters
    ----------
    path : Path
        ``NAME.safetensors``.
    model : WeightsFile

    Raises
    ------
    ModelError
        A weight is too large for half precision.
    """
    halves: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    first: dict[tuple[Any, ...], str] = {}
    for name, value in model.weights.items():
        known = first.setdefault((value.data_ptr(), tuple(value.shape), value.stride()), name)
        if known != name and value.numel():
            aliases[name] = known
            continue
        half = value.half() if value.is_floating_point() else value
        if half.is_floating_point() and not bool(torch.isfinite(half).all()):
            raise ModelError(str(path), f"{name} is too large for half precision", "Train anew.")
        halves[name] = half.contiguous()
    content = {part: getattr(model, part) for part in (*_PARTS, "epoch", "step")}
    content["aliases"] = aliases
    with replacing(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    with replacing(path) as temporary:
        temporary.write_bytes(save(halves))


def _aliases(where: Path, aliases: Any, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors by their other names.

    Raises
    ------
    ModelError
        An alias is none, or names no tensor of the file.
    """
    if not isinstance(aliases, Mapping) or not set(map(str, aliases.values())) <= weights.keys():
        found = "its aliases name tensors that the weights do not have"
        raise ModelError(str(where), found, "Restore the file that came with the weights.")
    return {str(name): weights[str(known)] for name, known in aliases.items()}


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
