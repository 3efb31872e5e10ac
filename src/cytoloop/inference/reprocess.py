"""Post-processing of probability maps in files: another threshold or watershed, no network.

The maps are those of a table of predictions, or images of any program.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cytoloop.errors import ConfigError, ImageError, ManifestError
from cytoloop.inference.finish_image import check_outputs, check_planes, finish_image
from cytoloop.inference.image_task import cells_or_failure
from cytoloop.inference.inputs.list_inputs import list_inputs, unique_names
from cytoloop.inference.postprocess.training_facts import TrainingFacts
from cytoloop.inference.results.predictions_csv import PredictionsTable
from cytoloop.inference.results.writers import report_write_errors
from cytoloop.inference.settings import MAPS, PredictionSettings
from cytoloop.inference.volume_storage import VolumeStorage
from cytoloop.inference.windows.object_scale import facts_of_row
from cytoloop.instances.blocks import Box, Volume
from cytoloop.io.digest import file_hash
from cytoloop.io.pixels import Pixels, open_pixels
from cytoloop.io.voxel_size import Grid
from cytoloop.manifest import Row, is_table, read_manifest, stated_axes, table_in
from cytoloop.truth.classes import class_heads

_FULL = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}
"""The whole number that stands for 1."""
_ROUNDING = 1e-3
"""How far floats may lie outside 0 to 1."""


def reprocess_table(
    table: str | Path, folder: str | Path, settings: PredictionSettings, overwrite: bool = False
) -> PredictionsTable:
    """Make masks, labels and tables of objects from probability maps in files.

    Parameters
    ----------
    table : str or Path
        A ``predictions.csv`` whose rows have a ``probability``; or a folder, glob or image of maps
        of any program.
    folder : str or Path
        Of the results. If it is the folder of the table, masks and labels there are replaced.
    settings : PredictionSettings
        Of them `postprocess` and `output` count.
    overwrite : bool
        Remove the results that the folder holds, except the maps of this table.

    Raises
    ------
    ConfigError
        Nothing would be made.
    ManifestError
        The table has no maps.
    ImageError
        There is no image.
    """
    save = tuple(kind for kind in settings.output.save if kind != "probability")
    if not settings.postprocess.instances or not save:
        key = "save" if settings.postprocess.instances else "postprocess"
        raise ConfigError(
            key,
            "makes nothing from stored maps",
            "Ask for a mask, labels or objects, and use a postprocess= other than none.",
        )
    folder = Path(folder).absolute()
    table = table_in(table)
    training = TrainingFacts.read(Path(table).parent) if is_table(table) else TrainingFacts()
    if training.output is not None:
        raise ConfigError(
            "reprocess",
            f"{table} is of a model whose maps are not stored ({training.output})",
            "Predict again.",
        )
    if settings.reading.planes != "auto":
        dims = 2 if settings.reading.planes else None
        check_planes(settings, training)
        training = replace(training, spatial_dims=dims)
    rows = _rows_with_maps(table) if is_table(table) else _rows_of_maps(table)
    check_outputs(settings.output.save, training)
    results = PredictionsTable(folder, rows, {})
    for row, cells in zip(rows, results.rows, strict=True):
        # the digest covers the settings of the maps as well, so that `predict` does not mistake
        # these results for its own
        both = f"{row['settings']} {settings.digest()}"
        cells["settings"] = hashlib.sha256(both.encode()).hexdigest()[:16]
        cells |= {k: row[k] for k in ("model", "run_id", "model_sha256", "input_sha256")}
        cells |= {name: str(row.file(name)) for name in MAPS if row[name]}
        if not row["probability"]:
            cells |= {"status": "failed", "reason": row["reason"]}
    results.write()  # after an interruption the table still names the maps
    if overwrite:
        maps = [row.file(name) for row in rows for name in MAPS if row[name]]
        results.remove_earlier_files(keep=[path for path in maps if path is not None])
    with report_write_errors(folder):
        training.write(folder)
    settings = replace(settings, output=replace(settings.output, save=save))
    try:
        for number, row in enumerate(rows):
            if row["probability"]:
                work = partial(_reprocess_image, row, training, settings, folder)
                results.finish(number, row["name"], cells_or_failure(work), settings)
    finally:
        results.write()
    return results


def _rows_with_maps(table: str | Path) -> Sequence[Row]:
    """Return the rows of a table of predictions, each with a ``name``.

    Raises
    ------
    ManifestError
        A row that did not fail has no probability map.
    """
    rows = list(read_manifest(table, ("id",)))
    lacking = [row for row in rows if not row["probability"]]
    problems = [f"{row.id}: no probability" for row in lacking if row["status"] != "failed"]
    if problems or len(lacking) == len(rows):
        raise ManifestError(
            str(table),
            problems or "has no predictions",
            "Predict with save=[probability,...], and give its predictions.csv.",
        )
    for row, name in zip(rows, unique_names(rows), strict=True):
        row.values["name"] = name
    return rows


def _rows_of_maps(source: str | Path) -> Sequence[Row]:
    """Return a row for each map of a folder, glob or image file, each with a ``name``."""
    rows = list_inputs(source)
    for row in rows:
        row.values["probability"] = row["raw"]
    return rows


def _reprocess_image(
    row: Row, training: TrainingFacts, settings: PredictionSettings, folder: Path
) -> dict[str, Any]:
    """Post-process the stored maps of one image; return its table cells."""
    stored = [name for name in MAPS if row[name]]
    heads = class_heads(training.classes)
    if heads:
        opened = {head: _open_map(row, MAPS[0], c) for c, head in enumerate(heads)}
    else:
        opened = {name: _open_map(row, name) for name in stored}
    if row["probability"] == row["raw"]:
        opened = {MAPS[0]: _open_file(row, settings.reading.channel)}
    first = next(iter(opened.values()))
    hashes = [file_hash(row.file(name) or "") for name in stored]
    key = hashlib.sha256(f"{hashes} {settings.digest()}".encode()).hexdigest()
    # a table of `predict` states the voxel size if it is known; a file may state 1 for unknown
    stated = None if row["status"] else first.spacing_um
    grid = Grid(row.spacing_um or stated, first.origin_um)
    maps: dict[str, Volume] = {name: _PixelVolume(pixels) for name, pixels in opened.items()}
    with report_write_errors(folder):
        storage = VolumeStorage.for_image(folder, row["name"], first.shape, key)
        facts = facts_of_row(training, row, grid.spacing_um)
        return finish_image(row["name"], maps, grid, facts, settings, folder, storage)


def _open_map(row: Row, name: str, channel: int = 0) -> Pixels:
    """Return the pixels of a stored map.

    Raises
    ------
    ImageError
        The file cannot be read, or is no probability map.
    """
    return _check_map(str(row.file(name)), open_pixels(row.file(name) or "", channel))


def _open_file(row: Row, channel: Any) -> Pixels:
    """Return the pixels of a map of any program.

    Raises
    ------
    ImageError
        The file cannot be read, has several channels, or is no probability map.
    """
    path = row.file("raw") or ""
    scene, axes = row["scene"] or None, stated_axes(row)
    pixels = open_pixels(path, channel, scene, row.time, axes=axes, plane=row.plane)
    if len(pixels.channels) > 1:
        raise ImageError(
            str(path),
            f"has {len(pixels.channels)} channels: {', '.join(map(str, pixels.channels))}",
            "Choose that of the foreground: channel=NAME or channel=NUMBER.",
        )
    return _check_map(str(path), pixels)


def _check_map(path: str, pixels: Pixels) -> Pixels:
    """Return the pixels if their dtype is that of a probability map.

    Raises
    ------
    ImageError
        It is another dtype.
    """
    if pixels.dtype not in _FULL and pixels.dtype.kind != "f":
        raise ImageError(
            path,
            f"holds {pixels.dtype}, which is no probability map",
            "Expected 0..1 (floats), 0..255 (uint8) or 0..65535 (uint16).",
        )
    return pixels


class _PixelVolume:
    """The first channel of an image as a read-only volume: uint8, or floats from 0 to 1."""

    def __init__(self, pixels: Pixels) -> None:
        self._pixels = pixels
        self.shape = tuple(pixels.shape)
        self.dtype = np.dtype(np.float32) if pixels.dtype == np.uint16 else pixels.dtype

    def __getitem__(self, box: Box) -> np.ndarray:
        found = self._pixels.read(box)[0]
        if found.dtype == np.uint16:
            return found.astype(np.float32) / _FULL[found.dtype]
        if found.dtype.kind == "f" and found.size:
            low, high = float(np.nanmin(found)), float(np.nanmax(found))
            if low < -_ROUNDING or high > 1 + _ROUNDING:
                raise ImageError(
                    "the map",
                    f"has values from {low:.4g} to {high:.4g}, expected 0 to 1",
                    "Write probabilities, not logits; or 0..255 as uint8.",
                )
        return found

    def __setitem__(self, box: Box, value: np.ndarray) -> None:
        raise TypeError("a stored map cannot be written")
