"""Checkpoints as data: read without running anything from the file.

`torch.load(weights_only=True)` admits tensors and plain values only. The architecture is plain
values too; its class is taken only from MONAI's networks, whatever the file says.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cytoloop.atomic import replacing
from cytoloop.errors import ModelError

_NETWORKS = "monai.networks.nets"


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds.

    Attributes
    ----------
    path : Path
    sha256 : str
        Of the file.
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
    """Read one of our checkpoints.

    Raises
    ------
    ModelError
        Missing, damaged, of another origin, or holding more than data.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(str(path), "no such checkpoint", "Give a .ckpt file or a runs:/ URI.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged or hostile file
        raise ModelError(
            str(path),
            f"is no readable checkpoint ({type(error).__name__}): damaged, or holds code",
            "Copy it again; only files of tensors and plain values are loaded.",
        ) from error
    hparams = content.get("hyper_parameters") if isinstance(content, dict) else None
    if not hparams or not {"backbone", "image"} <= set(hparams):
        raise ModelError(
            str(path),
            "was not written by CytoLoop (no architecture in it)",
            "Train one with `cytoloop train`.",
        )
    return Checkpoint(
        path=path,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        weights=dict(content["state_dict"]),
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
    content = torch.load(path, map_location="cpu", weights_only=True)
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
    kind = _network_class(where, str(arguments.pop("_target_", "")))
    arguments = {name: value for name, value in arguments.items() if not name.startswith("_")}
    if _targets_in(arguments):
        raise ModelError(where, "nests a class in the architecture", "It is not loaded.")
    prefix = "backbone."
    weights = {k[len(prefix) :]: v for k, v in checkpoint.weights.items() if k.startswith(prefix)}
    try:
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
            where, f"weights and architecture do not fit: {reason}", "The file is damaged."
        ) from error
    return network.eval()


def _network_class(where: str, target: str) -> type[nn.Module]:
    """Return the MONAI network that `target` names, nothing else."""
    module, _, name = target.rpartition(".")
    found = None
    if module == _NETWORKS or module.startswith(f"{_NETWORKS}."):
        found = getattr(importlib.import_module(_NETWORKS), name, None)
    if not (inspect.isclass(found) and issubclass(found, nn.Module)):
        raise ModelError(
            where,
            f"asks for the class {target!r}",
            f"Only networks of {_NETWORKS} are built from a file.",
        )
    return found


def _targets_in(value: Any) -> bool:
    if isinstance(value, Mapping):
        return "_target_" in value or any(_targets_in(v) for v in value.values())
    return isinstance(value, (list, tuple)) and any(_targets_in(v) for v in value)
