"""Checkpoints as data: read without running anything from the file.

`torch.load(weights_only=True)` admits tensors and plain values only. The architecture is plain
values too; its class is taken only from MONAI's networks, whatever the file says.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cytoloop.errors import ModelError
from cytoloop.io.atomic import replacing
from cytoloop.io.digest import file_hash
from cytoloop.model.architecture import check_arguments, check_fit, check_window, network_class
from cytoloop.model.importers import find_checkpoint, import_model
from cytoloop.model.safe_load import check_weights, load_tensors


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds.

    Attributes
    ----------
    path : Path
    sha256 : str
        Of the file; where it is of another origin, of the file and of what it was read as (a
        config beside it has its say in the prediction).
    weights : dict of str to Tensor
        State dict, keys ``backbone.*``.
    backbone : dict
        ``_target_`` and arguments of the network.
    image : dict
        What the network expects of an image: spatial_dims, channels, spacing_um, patch_size,
        normalization.
    epoch, step : int
        How far it was trained.
    """

    path: Path
    sha256: str
    weights: dict[str, Tensor]
    backbone: dict[str, Any]
    image: dict[str, Any]
    epoch: int
    step: int


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint of ours, or one of another origin (see `cytoloop.model.importers`).

    Parameters
    ----------
    path : str or Path
        The file, or the folder of a CytoDL or Segmenter ML training: its best one is taken.

    Raises
    ------
    ModelError
        Missing, damaged, of an unknown origin, or holding more than data.
    """
    path = Path(path)
    if path.is_dir():
        path = find_checkpoint(path)
    content = load_tensors(path)
    hparams = content.get("hyper_parameters") if isinstance(content, dict) else None
    if not isinstance(hparams, dict) or not {"backbone", "image"} <= set(hparams):
        other = import_model(path, content)
        meaning = json.dumps([other.backbone, other.image], sort_keys=True)
        return Checkpoint(
            path=path,
            sha256=hashlib.sha256((file_hash(path) + meaning).encode()).hexdigest(),
            weights=other.weights,
            backbone=other.backbone,
            image=other.image,
            epoch=other.epoch,
            step=other.step,
        )
    state = content.get("state_dict")
    parts = (state, hparams["backbone"], hparams["image"])
    if not all(isinstance(part, Mapping) for part in parts):
        raise ModelError(str(path), "lacks a part of a checkpoint", "Take another one of its run.")
    check_weights(path, state)
    if "patch_size" in hparams["image"]:
        check_window(str(path), hparams["image"]["patch_size"])
    return Checkpoint(
        path=path,
        sha256=file_hash(path),
        weights=dict(state),
        backbone=dict(hparams["backbone"]),
        image=dict(hparams["image"]),
        epoch=int(content.get("epoch", 0)),
        step=int(content.get("global_step", 0)),
    )


def write_tuned(path: str | Path, tuned: Mapping[str, float]) -> None:
    """Keep the post-processing that was chosen on the validation images in a checkpoint of ours.

    Parameters
    ----------
    path : str or Path
        Changed atomically.
    tuned : mapping of str to float
        Becomes ``tuned`` among what the network expects of an image.
    """
    content = load_tensors(Path(path))
    content["hyper_parameters"]["image"]["tuned"] = dict(tuned)
    with replacing(path) as temporary:
        torch.save(content, temporary)


def build_network(checkpoint: Checkpoint) -> nn.Module:
    """Return the network with its weights, in evaluation mode, on the CPU.

    Raises
    ------
    ModelError
        The file names a class outside MONAI's networks, or weights that do not fit it.
    """
    where = str(checkpoint.path)
    arguments = dict(checkpoint.backbone)
    kind = network_class(where, str(arguments.pop("_target_", "")))
    arguments = {name: value for name, value in arguments.items() if not name.startswith("_")}
    check_arguments(where, kind, arguments)
    prefix = "backbone."
    weights = {k[len(prefix) :]: v for k, v in checkpoint.weights.items() if k.startswith(prefix)}
    try:
        check_fit(kind, arguments, weights)
        network = kind(**arguments)
        network.load_state_dict(weights)
    except (
        ArithmeticError,
        AssertionError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(
            where,
            f"weights and architecture do not fit: {reason}",
            "The file is damaged, or the config beside it is another model's.",
        ) from error
    return network.eval()
