"""Safe reading of untrusted model files: no code in them runs, and memory stays limited.

`torch.load(weights_only=True)` admits only tensors and plain values, `yaml.safe_load` only plain
values. Neither limits the memory that a small file can ask for; the checks here do.
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
from cytoloop.io.file_kind import special_kind

_MAX_CONFIG_BYTES = 512 << 10
"""CytoDL's configs have about 12 KiB."""
_MAX_MEMBERS, _MAX_UNPACKED, _MAX_RATIO = 2000, 8 << 30, 20
"""Limits of a zip: files, unpacked bytes, unpacked bytes per packed byte. Weights barely compress,
CSV files up to 10 times."""


def load_tensors(path: Path) -> Any:
    """Return the content of a file that `torch.save` wrote.

    Raises
    ------
    ModelError
        The file is missing, damaged or compressed, or contains code.
    """
    if not path.is_file():
        raise ModelError(str(path), "no such checkpoint", "Give a .ckpt file or a runs:/ URI.")
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ModelError(
            str(path),
            "is not a readable checkpoint: damaged, cut off, or written by torch before 1.6",
            "Copy it again. Save a file of an old torch again with torch 1.6 or later.",
        ) from error
    unpacked = sum(member.file_size for member in members)
    compressed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
    if compressed or unpacked > path.stat().st_size:
        raise ModelError(
            str(path),
            f"is compressed and unpacks to {unpacked} bytes; torch writes uncompressed files",
            "It is not loaded, because it could fill the memory. Get the original file.",
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for damaged or malicious files
        raise ModelError(
            str(path),
            f"is not a readable checkpoint ({type(error).__name__}): damaged, or contains code",
            "Only tensors and plain values are loaded. Copy it again, or save "
            "network.state_dict() instead of the whole network.",
        ) from error


@contextmanager
def unpacked_zip(path: Path) -> Iterator[Path]:
    """Yield a temporary folder with the files of a zip; it is removed after the block.

    If the zip contains a single folder, this folder is yielded.

    Raises
    ------
    ModelError
        The file is not a readable zip; or its members lead out of the folder, are links, are more
        than 2000, or unpack to more than 8 GiB or 20 times their size.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ModelError(str(path), "is not a readable zip", "Copy it again.") from error
    with archive, tempfile.TemporaryDirectory(prefix="cytoloop-unpacked-") as temporary:
        members = [member for member in archive.infolist() if not member.is_dir()]
        if problems := _member_problems(members):
            repair = "It is not unpacked. Get the original file."
            raise ModelError(str(path), truncate_lines(problems, 6), repair)
        folder = Path(temporary, path.name)  # messages name the zip
        folder.mkdir()
        for member in members:
            target = folder / member.filename
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with archive.open(member) as packed, target.open("wb") as file:
                    # zipfile stops at the stated size, and checks the CRC
                    shutil.copyfileobj(packed, file)
            except (zipfile.BadZipFile, EOFError, RuntimeError, zlib.error) as error:
                raise ModelError(str(path), f"is damaged: {error}", "Copy it again.") from error
        while len(inside := list(folder.iterdir())) == 1 and inside[0].is_dir():
            folder = inside[0]
        yield folder


def _member_problems(members: Sequence[zipfile.ZipInfo]) -> list[str]:
    """Return why a zip must not be unpacked, [] if it is safe."""
    problems = []
    if len(members) > _MAX_MEMBERS:
        problems.append(f"has {len(members)} files, expected at most {_MAX_MEMBERS}")
    size = sum(member.file_size for member in members)
    packed = sum(member.compress_size for member in members)
    if size > _MAX_UNPACKED or size > _MAX_RATIO * packed + (1 << 20):
        problems.append(f"unpacks to {size} bytes from {packed}")
    for member in members:
        name = member.filename
        parts = name.replace("\\", "/").split("/")
        if ".." in parts or not parts[0] or ":" in name or "\0" in name:
            problems.append(f"{name[:80]!r} leads out of the folder")
        elif stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
            problems.append(f"{name[:80]!r} is a link or not a regular file")
    return problems


def check_weights(path: Path, weights: Mapping[Any, Any]) -> None:
    """Raise an error unless all weights are dense real tensors, finite, and stored in the file.

    Raises
    ------
    ModelError
        All faulty weights.
    """
    size = path.stat().st_size
    problems = []
    for name, value in weights.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            problems.append(f"{str(name)[:80]}: is not a tensor but {type(value).__name__}")
        elif value.layout is not torch.strided or value.is_quantized or value.is_complex():
            problems.append(f"{name}: is not a dense tensor of real numbers")
        elif not value.numel() * value.element_size() <= value.untyped_storage().nbytes() <= size:
            problems.append(f"{name}: claims shape {tuple(value.shape)}, larger than the file")
        elif value.is_floating_point() and not bool(torch.isfinite(value).all()):
            problems.append(f"{name}: has NaN or infinite values: the training diverged")
    if problems:
        raise ModelError(
            str(path), truncate_lines(problems, 6), "Take another checkpoint of this model."
        )


def read_config(path: Path) -> dict[str, Any]:
    """Return a YAML or JSON file as plain values; YAML tags, classes and resolvers are not run.

    Raises
    ------
    ModelError
        The file is larger than 512 KiB, damaged, contains a YAML tag, or is not a mapping.
    """
    repair = "Restore the file that was written with the model."
    if kind := special_kind(path):
        raise ModelError(str(path), f"is {kind}, expected a file", repair)
    try:
        size = path.stat().st_size
        if size > _MAX_CONFIG_BYTES:
            found = f"has {size} bytes, expected at most {_MAX_CONFIG_BYTES}"
            raise ModelError(str(path), found, repair)
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix.lower() == ".json" else yaml.safe_load(text)
    except (yaml.YAMLError, OSError, RecursionError, UnicodeError, ValueError) as error:
        if isinstance(error, ModelError):
            raise
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise ModelError(str(path), f"cannot be read as plain data: {reason}", repair) from error
    if not isinstance(content, dict):
        found = f"contains {type(content).__name__}, expected keys and values"
        raise ModelError(str(path), found, repair)
    return {str(key): value for key, value in content.items()}
