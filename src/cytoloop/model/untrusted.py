"""Files of unknown origin as data: nothing in them is run, nothing larger than they are is made.

`torch.load(weights_only=True)` admits tensors and plain values only, `yaml.safe_load` plain
values only. Neither bounds what a small file may ask for, so that is done here.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from cytoloop.errors import ModelError

_MOST_TEXT = 512 << 10
"""Bytes of a config: CytoDL's have 12 KiB."""


def load_tensors(path: Path) -> Any:
    """Return what `torch.save` wrote.

    Raises
    ------
    ModelError
        Missing, damaged, packed so that it unpacks to more than the file, or holding code.
    """
    if not path.is_file():
        raise ModelError(str(path), "no such checkpoint", "Give a .ckpt file or a runs:/ URI.")
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ModelError(
            str(path),
            "is no readable checkpoint: damaged, cut off, or of a torch before 1.6",
            "Copy it again; a file of an old torch must be saved once more with a newer one.",
        ) from error
    unpacked = sum(member.file_size for member in members)
    packed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
    if packed or unpacked > path.stat().st_size:
        raise ModelError(
            str(path),
            f"is no checkpoint as torch writes it: {unpacked} bytes packed into less",
            "Such a file can fill the memory and is not loaded; ask for the original.",
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged or hostile file
        raise ModelError(
            str(path),
            f"is no readable checkpoint ({type(error).__name__}): damaged, or holds code",
            "Only files of tensors and plain values are loaded: copy it again, or save "
            "network.state_dict() instead of the whole network.",
        ) from error


def check_weights(path: Path, weights: Mapping[Any, Any]) -> None:
    """Refuse weights that are no plain tensors of finite numbers, as large as they are stored.

    Raises
    ------
    ModelError
        All of them at once.
    """
    size = path.stat().st_size
    problems = []
    for name, value in weights.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            problems.append(f"{str(name)[:80]}: is no tensor but {type(value).__name__}")
        elif value.layout is not torch.strided or value.is_quantized or value.is_complex():
            problems.append(f"{name}: is no dense tensor of real numbers")
        elif not value.numel() * value.element_size() <= value.untyped_storage().nbytes() <= size:
            problems.append(f"{name}: claims {tuple(value.shape)}, more than the file holds")
        elif value.is_floating_point() and not bool(torch.isfinite(value).all()):
            problems.append(f"{name}: holds values that are no numbers: the training went wrong")
    if problems:
        shown = problems[:6] + ([f"... and {len(problems) - 6} more"] if problems[6:] else [])
        raise ModelError(str(path), shown, "Take another checkpoint of this model.")


def read_settings(path: Path) -> dict[str, Any]:
    """Return a YAML or JSON file as plain values; tags, classes and resolvers mean nothing.

    Raises
    ------
    ModelError
        Too large, damaged, asking for an object, or no table of keys.
    """
    repair = "Restore the file that was written with the model."
    try:
        size = path.stat().st_size
        if size > _MOST_TEXT:
            raise ModelError(str(path), f"has {size} bytes, expected {_MOST_TEXT} at most", repair)
        text = path.read_text(encoding="utf-8")
        found = json.loads(text) if path.suffix.lower() == ".json" else yaml.safe_load(text)
    except (yaml.YAMLError, OSError, RecursionError, UnicodeError, ValueError) as error:
        if isinstance(error, ModelError):
            raise
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise ModelError(str(path), f"is not read as plain data: {reason}", repair) from error
    if not isinstance(found, dict):
        raise ModelError(str(path), f"holds {type(found).__name__}, expected keys", repair)
    return {str(key): value for key, value in found.items()}
