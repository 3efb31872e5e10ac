"""nnU-Net data sets: ``dataset.json``, ``imagesTr/x_0000.tif`` ..., ``labelsTr/x.tif``.

https://github.com/MIC-DKFZ/nnUNet/blob/master/documentation/dataset_format.md
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cc3d
import fastremap
import numpy as np

from cytoloop.curation.exchange.recorded_folder import ExportResult, list_files, replace_folder
from cytoloop.errors import CytoloopError, ManifestError
from cytoloop.io.listing import list_images
from cytoloop.io.names import safe_name, stem
from cytoloop.io.writers.tiff import write_image
from cytoloop.manifest import Row
from cytoloop.truth.targets import read_raw, read_target

log = logging.getLogger(__name__)

_DESCRIPTION = "dataset.json"
_PARTS = (("imagesTr", "labelsTr", ""), ("imagesTs", "labelsTs", "test"))
"""Folder of images, folder of labels, and the split of the rows."""
_ENDING = ".tif"
_PIECES_PER_CLASS = 1.5
"""Labels with more pieces on average are classes; each object is one piece, or few."""


def is_project(path: Path) -> bool:
    """Return whether a path is an nnU-Net data set, or its ``dataset.json``."""
    folder = path.parent if path.name == _DESCRIPTION else path
    return (folder / _DESCRIPTION).is_file() and (folder / "imagesTr").is_dir()


def read(path: Path, /) -> list[Row]:
    """Return the rows of a data set; the ignore label becomes an excluded region.

    Images without labels (``imagesTs`` without ``labelsTs``) are left out. The folds of
    ``splits_final.json`` become the column ``fold``.

    Raises
    ------
    ManifestError
        ``dataset.json`` is no description of a data set, or an image has no labels.
    """
    folder = (path.parent if path.name == _DESCRIPTION else path).absolute()
    description = _read_json(folder / _DESCRIPTION)
    exclude = _ignore_rule(folder, description)
    folds = _folds(folder)
    rows: list[Row] = []
    problems = []
    for images, labels, split in _PARTS:
        if not (folder / labels).is_dir():
            continue
        known = {stem(file): file for file in list_images(folder / labels)}
        for image in list_images(folder / images):
            name = stem(image)
            if name not in known:
                problems.append(f"{images}: {name} has no labels in {labels}")
                continue
            values = {"id": name, "raw": str(image), "seg1": str(known[name])}
            values |= {"split": split, "fold": folds.get(name, ""), "exclude": exclude}
            rows.append(Row(values, folder, len(rows) + 1))
    if problems or not rows:
        raise ManifestError(
            str(folder),
            problems or "holds no image with labels",
            "Complete the data set, or name the files: raw=... seg1=...",
        )
    return rows


def write(folder: Path, rows: Sequence[Row], /, on_problem: str = "refuse") -> ExportResult:
    """Write rows as a data set; excluded voxels get the label ``ignore``.

    nnU-Net learns classes: labels of objects are written as one class, ``foreground``.

    Parameters
    ----------
    folder : Path
    rows : sequence of Row
    on_problem : str
        ``refuse`` or ``reject``: rows that cannot be read are left out.
    """
    left_out: dict[str, str] = {}
    used, values, pieces, labels = [], 0, 0, 0
    for row in rows:
        try:
            target, valid = read_target(row, classes=True)
        except CytoloopError as error:
            left_out[row.id] = "; ".join(error.problems)
            continue
        found = fastremap.unique(np.where(valid, target, 0))
        values = max(values, int(found.max(initial=0)))
        labels += int(np.count_nonzero(found))
        pieces += int(cc3d.connected_components(target, return_N=True)[1])
        used.append((row, bool((~valid).any())))
    if left_out and (on_problem == "refuse" or not used):
        problems = [f"{name}: {reason}" for name, reason in left_out.items()]
        raise ManifestError(str(folder), problems, "Repair these rows, or set on_problem=reject.")
    are_classes = values <= 1 or pieces > _PIECES_PER_CLASS * labels
    if not are_classes:
        log.warning("%s: the labels are objects; nnU-Net gets them as one class", folder)
    count = values if are_classes else 1
    with replace_folder(folder, "nnunet", rows) as staging:
        channels: tuple[str, ...] = ()
        for row, _ in used:
            channels = _write_row(staging.path, row, count, are_classes)
        names = {"background": 0} | (
            {f"class_{n}": n for n in range(1, count + 1)} if count > 1 else {"foreground": 1}
        )
        if any(excludes for _, excludes in used):
            names["ignore"] = count + 1
        description = {
            "channel_names": {str(n): name for n, name in enumerate(channels)},
            "labels": names,
            "numTraining": sum(row["split"] != "test" for row, _ in used),
            "file_ending": _ENDING,
        }
        text = json.dumps(description, indent=1, ensure_ascii=False)
        (staging.path / _DESCRIPTION).write_text(text + "\n", encoding="utf-8")
    return ExportResult(staging.final, list_files(staging.final), left_out)


def _write_row(folder: Path, row: Row, count: int, are_classes: bool) -> tuple[str, ...]:
    """Write the channels and the labels of a row; return the names of the channels."""
    image = read_raw(row)
    target, valid = read_target(row, classes=True)
    labels = target if are_classes else target > 0
    labels = np.where(valid, labels, count + 1).astype(np.uint8)
    images, truths, _ = _PARTS[row["split"] == "test"]
    axes, name = "ZYX"[-labels.ndim :], safe_name(row.id)
    spacing = row.spacing_um or image.spacing_um
    for number, channel in enumerate(image.data):
        write_image(folder / images / f"{name}_{number:04d}{_ENDING}", channel, axes, spacing)
    write_image(folder / truths / f"{name}{_ENDING}", labels, axes, spacing)
    if labels.ndim == 3:  # where nnU-Net looks for the voxel size of a TIFF
        text = json.dumps({"spacing": list(spacing or (1.0, 1.0, 1.0))})
        for part in (images, truths):
            (folder / part / f"{name}.json").write_text(text, encoding="utf-8")
    return image.channels


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ManifestError(str(path), f"cannot be read: {error}", "Correct it.") from error
    if not isinstance(content, dict):
        raise ManifestError(str(path), "is no description of a data set", "Correct it.")
    return content


def _ignore_rule(folder: Path, description: Mapping[str, Any]) -> str:
    """Return the rule that excludes the voxels of the ignore label, "" without one."""
    labels = description.get("labels", {})
    if not isinstance(labels, dict):
        raise ManifestError(
            str(folder / _DESCRIPTION), "its labels are no names with numbers", "Correct it."
        )
    if any(isinstance(value, list) for value in labels.values()):
        raise ManifestError(
            str(folder / _DESCRIPTION),
            "its labels are regions that overlap, expected one number for each class",
            "Write each class with its own number.",
        )
    ignore = next((v for name, v in labels.items() if name.lower() == "ignore"), None)
    if ignore is None:  # version 1 has numbers as keys
        ignore = next((k for k, v in labels.items() if str(v).lower() == "ignore"), None)
    return "" if ignore is None else f"labels({int(ignore)})"


def _folds(folder: Path) -> dict[str, str]:
    """Return the fold in which each image is for validation."""
    path = folder / "splits_final.json"
    if not path.is_file():
        return {}
    try:
        splits = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): str(n) for n, one in enumerate(splits) for name in one["val"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ManifestError(str(path), f"cannot be read: {error!r}", "Correct it.") from error
