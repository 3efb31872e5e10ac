"""Files of unknown origin as data: nothing in them is run, nothing larger than they are is made.

`torch.load(weights_only=True)` admits tensors and plain values only, `yaml.safe_load` plain
values only. Neither bounds what a small file may ask for, so that is done here.
"""

from __future__ import annotations

import json
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from cytoloop.errors import ModelError, truncate_lines

_MOST_TEXT = 512 << 10
"""Bytes of a config: CytoDL's have 12 KiB."""
_MOST_MEMBERS, _MOST_UNPACKED, _MOST_RATIO = 2000, 8 << 30, 20
"""Of a zip: files, bytes, bytes for each packed one. Weights hardly pack, CSV up to tenfold."""


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


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """Yield the folder that a zip holds, unpacked aside for as long as the block lasts.

    Raises
    ------
    ModelError
        No zip; or one whose members lead out of the folder, are links, are too many, or unpack to
        far more than the file.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ModelError(str(path), "is no readable zip", "Copy it again.") from error
    with archive, tempfile.TemporaryDirectory(prefix="cytoloop-unpacked-") as temporary:
        members = [member for member in archive.infolist() if not member.is_dir()]
        if problems := _faults_of_members(members):
            repair = "It is not unpacked; ask for the original."
            raise ModelError(str(path), truncate_lines(problems, 6), repair)
        for member in members:
            target = Path(temporary, member.filename)
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with archive.open(member) as packed, target.open("wb") as file:
                    shutil.copyfileobj(packed, file)  # of the size told, sum checked
            except (zipfile.BadZipFile, EOFError, RuntimeError, zlib.error) as error:
                raise ModelError(str(path), f"is damaged: {error}", "Copy it again.") from error
        folder = Path(temporary)
        while len(inside := list(folder.iterdir())) == 1 and inside[0].is_dir():
            folder = inside[0]
        yield folder


def _faults_of_members(members: Sequence[zipfile.ZipInfo]) -> list[str]:
    """Return what is wrong with a zip before anything of it is unpacked."""
    problems = []
    if len(members) > _MOST_MEMBERS:
        problems.append(f"holds {len(members)} files, expected {_MOST_MEMBERS} at most")
    size = sum(member.file_size for member in members)
    packed = sum(member.compress_size for member in members)
    if size > _MOST_UNPACKED or size > _MOST_RATIO * packed + (1 << 20):
        problems.append(f"unpacks to {size} bytes from {packed}")
    for member in members:
        name = member.filename
        parts = name.replace("\\", "/").split("/")
        if ".." in parts or not parts[0] or ":" in name or "\0" in name:
            problems.append(f"{name[:80]!r} leads out of the folder")
        elif stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
            problems.append(f"{name[:80]!r} is a link, or no file")
    return problems


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
        raise ModelError(
            str(path), truncate_lines(problems, 6), "Take another checkpoint of this model."
        )


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
