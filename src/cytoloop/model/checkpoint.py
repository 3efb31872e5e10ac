"""Checkpoints: reading them safely as data, and building their networks.

`torch.load(weights_only=True)` admits only tensors and plain values. The architecture is a plain
value, too. Its class must be one of a known library, or of a package that the user trusts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cytoloop.errors import CytoloopError, ModelError
from cytoloop.io.atomic import replacing
from cytoloop.io.digest import file_hash
from cytoloop.model.architecture import build_architecture
from cytoloop.model.image_settings import check_image_settings
from cytoloop.model.importers import ImportedModel, find_checkpoint, import_model, is_package
from cytoloop.model.safe_load import check_weights, load_tensors, unpacked_zip
from cytoloop.model.weights_file import SUFFIX, WeightsFile, read_weights_file


@dataclass(frozen=True)
class Checkpoint:
    """Content of a checkpoint file.

    Attributes
    ----------
    path : Path
    sha256 : str
        Hash of the file. For a model of another tool, hash of the file together with the
        imported architecture and image settings, because a config beside the file changes the
        prediction.
    weights : dict of str to Tensor
        State dict, keys ``backbone.*``.
    backbone : dict
        ``_target_`` and arguments of the network.
    image : dict
        Images that the network expects: spatial_dims, channels, spacing_um, patch_size,
        normalization.
    epoch, step : int
        Progress of the training.
    imported : bool
        Another tool made the file.
    """

    path: Path
    sha256: str
    weights: dict[str, Tensor]
    backbone: dict[str, Any]
    image: dict[str, Any]
    epoch: int
    step: int
    imported: bool = False


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Return the checkpoint of CytoLoop or another tool (see `cytoloop.model.importers`).

    Parameters
    ----------
    path : str or Path
        The file; ``NAME.safetensors`` with ``NAME.json`` beside it; the folder of a CytoDL or
        Segmenter ML training, whose best checkpoint is read; a package of the BioImage Model Zoo
        (zip, folder or description); or a zip of a folder.

    Raises
    ------
    ModelError
        The file is missing, damaged, of an unknown tool, contains more than data, or lacks values
        that prediction needs.
    """
    path = Path(path)
    if path.is_dir():
        best = path / "best.ckpt"
        path = best if best.is_file() else find_checkpoint(path)
    if path.suffix.lower() == ".zip":
        with unpacked_zip(path) as folder:
            try:
                return replace(read_checkpoint(folder), path=path)
            except CytoloopError as error:
                where = error.where.replace(str(folder), str(path))
                raise type(error)(where, error.problems, error.repair) from error
    if path.suffix.lower() == SUFFIX:
        return _of_other_format(path, read_weights_file(path))
    content: Any = None if is_package(path) else load_tensors(path)
    hparams = content.get("hyper_parameters") if isinstance(content, dict) else None
    if not isinstance(hparams, dict) or not {"backbone", "image"} <= set(hparams):
        model = import_model(path, content)
        return _of_other_format(path, model, model.digest)
    state = content.get("state_dict")
    parts = {"state_dict": state, "backbone": hparams["backbone"], "image": hparams["image"]}
    if missing := [name for name, part in parts.items() if not isinstance(part, Mapping)]:
        raise ModelError(
            str(path), f"lacks a part of a checkpoint: {', '.join(missing)}", "Take another one."
        )
    check_weights(path, parts["state_dict"])
    check_image_settings(str(path), hparams["image"])
    return Checkpoint(
        path=path,
        sha256=file_hash(path),
        weights=dict(parts["state_dict"]),
        backbone=dict(hparams["backbone"]),
        image=dict(hparams["image"]),
        epoch=_whole_number(content.get("epoch")),
        step=_whole_number(content.get("global_step")),
    )


def _of_other_format(
    path: Path, model: ImportedModel | WeightsFile, digest: str = ""
) -> Checkpoint:
    """Return the checkpoint of an imported model or of a weights file.

    Raises
    ------
    ModelError
        An invalid image setting.
    """
    check_image_settings(str(path), model.image)
    settings = digest + json.dumps([model.backbone, model.image], sort_keys=True)
    return Checkpoint(
        path=path,
        sha256=hashlib.sha256((file_hash(path) + settings).encode()).hexdigest(),
        weights=model.weights,
        backbone=model.backbone,
        image=model.image,
        epoch=model.epoch,
        step=model.step,
        imported=True,
    )


def _whole_number(value: Any) -> int:
    """Return a number of epochs or steps; 0 where the file has none."""
    return value if isinstance(value, int) else 0


def write_tuned(path: str | Path, tuned: Mapping[str, float]) -> None:
    """Store tuned post-processing in a CytoLoop checkpoint, atomically.

    Parameters
    ----------
    path : str or Path
    tuned : mapping of str to float
        Becomes ``tuned`` of the checkpoint's image settings.
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
        The class is not of a known library and not trusted, or the weights do not fit it.
    """
    where = str(checkpoint.path)
    prefix = "backbone."
    weights = {k[len(prefix) :]: v for k, v in checkpoint.weights.items() if k.startswith(prefix)}
    try:
        network = build_architecture(where, checkpoint.backbone, weights)
        network.load_state_dict(weights)
    except ModelError:
        raise
    except (
        ArithmeticError,
        AssertionError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        reason = " ".join(str(error).split())[:500] or type(error).__name__
        raise ModelError(
            where,
            f"weights and architecture do not fit: {reason}",
            "The file is damaged, or the config beside it belongs to another model.",
        ) from error
    return network.eval()
