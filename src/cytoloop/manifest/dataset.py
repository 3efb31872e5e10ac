"""Read a curated data set: its manifests for training, validation and test."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from cytoloop.errors import ImageError, ManifestError
from cytoloop.home import expand_home
from cytoloop.io.digest import file_hash
from cytoloop.io.multi_file import image_exists
from cytoloop.manifest.columns import FILE_COLUMNS
from cytoloop.manifest.own_folder import PREDICTIONS_TABLE
from cytoloop.manifest.planes import expand_planes, plane_cell
from cytoloop.manifest.read import read_manifest
from cytoloop.manifest.row import Manifest, Row

SPLIT_FILES = {
    "train": ("train.csv",),
    "valid": ("valid.csv", "val.csv", "validation.csv"),
    "test": ("test.csv",),
}
"""Names of the table of each split in the folder of a data set."""
_SPLIT_NAMES = {
    **{name.split(".")[0]: split for split, names in SPLIT_FILES.items() for name in names},
    "training": "train",
    "testing": "test",
}
"""Accepted texts of the column ``split``."""


def read_dataset(
    path: str | Path, fold: int | None = None, planes: object = None
) -> dict[str, Manifest]:
    """Return the manifests of a curated data set, without rejected rows.

    Parameters
    ----------
    path : str or Path
        A folder with ``train.csv`` (and ``valid.csv``, ``test.csv``), or one CSV file with a
        ``split`` column.
    fold : int, optional
        Fold of a cross-validation: its rows become the validation split, the other folds the
        training split. The test split is unchanged. A folder must hold ``dataset.csv``.
    planes : bool, str or None
        Which planes of stacks are pictures of their own, see `cytoloop.manifest.plane_cell`. None:
        those that the data set names.

    Returns
    -------
    dict of str to Manifest
        Keys ``train``, ``valid``, ``test``.

    Raises
    ------
    ManifestError
        No such data set or fold, no training image, an invalid manifest, or stacks whose labels
        have other planes.
    """
    path = expand_home(path)
    if fold is not None and path.is_dir():
        path = path / "dataset.csv"
    if path.is_file():
        found = _read_file(path)
    elif path.is_dir():
        found = _read_folder(path)
    else:
        raise ManifestError(
            str(path), "no such data set", "Create one with `cytoloop curate ... output=DIR`."
        )
    for manifest in found.values():
        manifest.rows = [row for row in manifest if row["status"] != "reject"]
    _expand_planes(found, plane_cell(planes))
    if not len(found["train"]):
        if (path / PREDICTIONS_TABLE).is_file():
            raise ManifestError(
                str(path),
                f"holds predictions ({PREDICTIONS_TABLE}), not a curated data set",
                "Make one of their images and labels: cytoloop curate raw=IMAGES "
                f"seg1={path / 'labels'} output=dataset/ report=true",
            )
        raise ManifestError(
            str(path), "no training image (train.csv is missing or empty)", "Curate more images."
        )
    return found if fold is None else _select_fold(found, fold, path)


def _expand_planes(found: Mapping[str, Manifest], cell: str) -> None:
    """Replace the stacks whose planes are pictures by a row for each plane.

    Raises
    ------
    ManifestError
        Stacks whose labels have other planes, or no label; all of them.
    """
    problems, repairs = [], []
    for manifest in found.values():
        rows = []
        for row in manifest:
            row.values["plane"] = row["plane"] or cell
            try:
                rows += list(expand_planes(row))
            except ManifestError as error:
                problems += error.problems
                repairs.append(error.repair)
            except ImageError:
                rows.append(row)  # the check of the row makes it a problem
        manifest.rows = rows
    if problems:
        path = next(iter(found.values())).path
        raise ManifestError(str(path), problems, " ".join(dict.fromkeys(repairs)))


def dataset_hash(manifests: Mapping[str, Manifest]) -> str:
    """Return a SHA-256 of a data set: its rows and the contents of all their files."""
    digest = hashlib.sha256()
    for split in sorted(manifests):
        for row in manifests[split]:
            cells = {n: v for n, v in row.values.items() if n not in FILE_COLUMNS and v}
            digest.update(repr((split, row.id, sorted(cells.items()))).encode())
            for column in FILE_COLUMNS:
                file = row.file(column)
                if file is not None and image_exists(file):
                    digest.update(f"{column}={file_hash(file)};".encode())
    return digest.hexdigest()


def _read_file(path: Path) -> dict[str, Manifest]:
    """Return the splits of one CSV file."""
    rows: dict[str, list[Row]] = {split: [] for split in SPLIT_FILES}
    for row in read_manifest(path, ("raw", "seg1")):
        split = _SPLIT_NAMES.get(row["split"] or "train")
        if split is None:
            raise ManifestError(
                f"{path}: {row.where('split')}",
                f"{row['split']!r} is not a split",
                "Expected train, valid or test.",
            )
        rows[split].append(row)
    return {split: Manifest(path, part) for split, part in rows.items()}


def _read_folder(folder: Path) -> dict[str, Manifest]:
    """Return the splits of a folder with one CSV file per split."""
    found = {}
    for split, names in SPLIT_FILES.items():
        present = [folder / name for name in names if (folder / name).is_file()]
        if len(present) > 1:
            raise ManifestError(
                str(folder),
                f"holds {' and '.join(p.name for p in present)}, expected one of them",
                "Remove the others.",
            )
        rows = read_manifest(present[0], ("raw", "seg1")).rows if present else []
        found[split] = Manifest(present[0] if present else folder / names[0], rows)
    return found


def _select_fold(dataset: dict[str, Manifest], fold: int, path: Path) -> dict[str, Manifest]:
    """Return the data set with one fold as validation split and the others as training split."""
    rows = [row for split in ("train", "valid") for row in dataset[split]]
    folds = sorted({int(row["fold"]) for row in rows if row["fold"].isdigit()})
    without = sum(not row["fold"].isdigit() for row in rows)
    if fold not in folds or without:
        problem = f"fold {fold}: the data set has no folds"
        if folds:
            problem = f"fold {fold}: the data set has folds {', '.join(map(str, folds))}"
            problem += f"; {without} rows have no fold" if without else ""
        raise ManifestError(str(path), problem, "Curate with split.folds=5.")
    parts = {
        "train": [row for row in rows if int(row["fold"]) != fold],
        "valid": [row for row in rows if int(row["fold"]) == fold],
    }
    return {**dataset, **{split: Manifest(path, part) for split, part in parts.items()}}
