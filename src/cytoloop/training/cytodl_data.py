"""The tables of a CytoDL experiment: checked before the training, and described for its run."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cytoloop.errors import ManifestError, truncate_lines
from cytoloop.home import expand_home
from cytoloop.io.digest import file_hash

_SPLITS = ("train", "val", "test", "predict")
"""CytoDL's splits; a table belongs to the split that its name starts with."""

_MAX_PROBLEMS = 20
LOADERS = "_dataloaders"
"""End of the names of CytoDL's loaders of arrays, ``train_dataloaders`` etc."""


@dataclass(frozen=True)
class CytoDLData:
    """The tables of an experiment.

    Attributes
    ----------
    path : Path
        Absolute path of the table, or of the folder of tables.
    tables : tuple of Path
    digest : str
        SHA-256 of the rows and the contents of their files.
    counts : dict of str to int
        Split to number of rows.
    """

    path: Path
    tables: tuple[Path, ...]
    digest: str
    counts: dict[str, int]


def read_cytodl_data(data: Mapping[str, Any]) -> CytoDLData:
    """Return the tables of an experiment, after checking that their files exist.

    Parameters
    ----------
    data : mapping
        The resolved config ``data`` of the experiment: ``path``, ``columns``, ``split_column``.

    Raises
    ------
    ManifestError
        There is no table, a column is missing, or files do not exist.
    """
    path = expand_home(str(data.get("path") or "")).absolute()
    found = sorted(path.iterdir()) if path.is_dir() else [path]
    tables = tuple(p for p in found if p.suffix in (".csv", ".parquet") and p.is_file())
    if not tables:
        raise ManifestError(
            f"data.path={data.get('path')}",
            "no table, expected a CSV, or a folder with train.csv and val.csv",
            "Give the table; `cytoloop curate` writes tables that CytoDL reads.",
        )
    columns = [str(name) for name in data.get("columns") or ()]
    digest, counts, problems = hashlib.sha256(), dict[str, int](), list[str]()
    for table in tables:
        digest.update(f"{table.name}={file_hash(table)};".encode())
        if table.suffix == ".csv":
            _read_table(table, columns, data.get("split_column"), digest, counts, problems)
    if problems:
        raise ManifestError(
            str(path),
            truncate_lines(problems, _MAX_PROBLEMS),
            "CytoDL reads absolute paths, or paths relative to the working folder.",
        )
    return CytoDLData(path, tables, digest.hexdigest(), counts)


def takes_arrays(data: Mapping[str, Any]) -> bool:
    """Return whether the config ``data`` of an experiment makes loaders of arrays."""
    return any(str(name).endswith(LOADERS) for name in data)


def describe_arrays(
    data: Mapping[str, Any], arrays: Mapping[str, Sequence[Any]] | None
) -> CytoDLData:
    """Return the description of the images of an experiment that takes arrays.

    Parameters
    ----------
    data : mapping
        The resolved config ``data`` of the experiment.
    arrays : mapping of str to sequence of mapping
        Split (``train``, ``val``) to images; an image maps a key of the experiment (``raw``,
        ``seg``) to an array (C, [Z,] Y, X).

    Raises
    ------
    ManifestError
        Arrays are missing, or the experiment takes tables.
    """
    splits = [str(name).removesuffix(LOADERS) for name in data if str(name).endswith(LOADERS)]
    if not splits:
        raise ManifestError(
            "arrays", "the experiment takes a table of files", "Give data.path instead."
        )
    if arrays is None:
        raise ManifestError(
            "data",
            "the experiment takes arrays, which a command cannot pass",
            "In Python: cytoloop.train(experiment=..., arrays={'train': [{'raw': ..., 'seg': "
            "...}], 'val': [...]}). For files: experiment=im2im/segmentation.",
        )
    problems = [f"no images for {split!r}" for split in splits if not arrays.get(split)]
    problems += [f"{split!r} is not one of {', '.join(splits)}" for split in {*arrays} - {*splits}]
    digest = hashlib.sha256()
    for split in splits:
        for number, image in enumerate(arrays.get(split) or ()):
            if not isinstance(image, Mapping) or not image:
                problems.append(f"{split}, image {number}: expected a mapping of key to array")
                continue
            for key, values in image.items():
                values = np.asarray(values)
                if values.dtype == object or values.ndim not in (3, 4):
                    shape = f"{values.dtype} {list(values.shape)}"
                    problems.append(
                        f"{split}, image {number}, {key}: {shape}, expected numbers (C, [Z,] Y, X)"
                    )
                digest.update(f"{split}.{number}.{key}={values.dtype}{values.shape};".encode())
                digest.update(np.ascontiguousarray(values).data if values.size else b"")
    if problems:
        raise ManifestError("arrays", truncate_lines(problems, _MAX_PROBLEMS), "")
    counts = {split: len(arrays[split]) for split in splits}
    return CytoDLData(Path("arrays"), (), digest.hexdigest(), counts)


def _read_table(
    table: Path,
    columns: list[str],
    split_column: Any,
    digest: Any,
    counts: dict[str, int],
    problems: list[str],
) -> None:
    """Add a CSV's files to the digest, its rows to the counts, and its faults to the problems."""
    with table.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        missing = [name for name in columns if name not in (reader.fieldnames or ())]
        if missing:
            problems.append(f"{table.name}: has no column {', '.join(missing)}")
            return
        for number, row in enumerate(reader, 2):
            split = _split_of(str(row.get(str(split_column)) or "") or table.stem)
            counts[split] = counts.get(split, 0) + 1
            if row.get("plane") and "merge_rule" in row:  # a manifest of ours
                plane = f"{table.name} line {number}: is plane {row['plane']} of a stack"
                problems.append(f"{plane}, which CytoDL does not read: curate with export=cytodl")
            for column, location in _files(row, columns):
                if not location.exists():
                    problems.append(f"{table.name} line {number}: {column} {location} is missing")
                else:
                    digest.update(f"{column}={file_hash(location)};".encode())


def _split_of(name: str) -> str:
    return next((split for split in _SPLITS if name.startswith(split)), name)


def _files(row: Mapping[str, Any], columns: list[str]) -> Iterator[tuple[str, Path]]:
    """Yield column and path of the cells that name a local file."""
    for column in columns:
        text = str(row.get(column) or "").strip()
        if Path(text).suffix and "://" not in text:
            yield column, expand_home(text)
