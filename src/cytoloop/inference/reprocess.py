"""Post-processing again: stored maps of probability, another threshold or watershed, no network."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from cytoloop.errors import ConfigError, ImageError, ManifestError
from cytoloop.inference.image_task import cells_or_failure
from cytoloop.inference.inputs.list_inputs import unique_names
from cytoloop.inference.postprocess.classes import check_save
from cytoloop.inference.predict_image import finish_row, report_write_errors
from cytoloop.inference.results.predictions_csv import (
    MAPS,
    PredictionsTable,
    read_model,
    write_model,
)
from cytoloop.inference.settings import Settings
from cytoloop.inference.volume_storage import VolumeStorage
from cytoloop.inference.windows.probability_maps import PixelVolume
from cytoloop.instances.blocks import Volume
from cytoloop.io.digest import file_hash
from cytoloop.io.pixels import open_pixels
from cytoloop.io.voxel_size import Grid
from cytoloop.manifest import Row, read_manifest
from cytoloop.truth.classes import class_heads


def reprocess_table(table: str | Path, output: str | Path, settings: Settings) -> PredictionsTable:
    """Make masks, labels and tables from the stored maps of a table of predictions.

    Parameters
    ----------
    table : str or Path
        A ``predictions.csv`` whose rows have a ``probability``.
    output : str or Path
        May be the folder of the table: its masks and labels are replaced then.
    settings : Settings

    Raises
    ------
    ConfigError
        Nothing would be made.
    ManifestError
        A table without maps.
    """
    if not settings.postprocess["instances"]:
        raise ConfigError("postprocess", "makes nothing from stored maps", "Take another one.")
    rows = list(read_manifest(table, ("id",)))
    lacking = [row for row in rows if not row["probability"]]
    without = [f"{row.id}: no probability" for row in lacking if row["status"] != "failed"]
    if without or len(lacking) == len(rows):
        raise ManifestError(
            str(table),
            without or "has no predictions",
            "Predict with save=[probability,...], and give its predictions.csv.",
        )
    output, trained = Path(output).absolute(), read_model(Path(table).parent)
    check_save(settings.save, trained)
    for row, name in zip(rows, unique_names(rows), strict=True):
        row.values["name"] = name
    results = PredictionsTable(output, rows, {})
    for row, cells in zip(rows, results.table, strict=True):
        # maps depend on the settings that they were made with: `predict` must not take these
        # results for those of its own
        both = f"{row['settings']} {settings.digest()}"
        cells["settings"] = hashlib.sha256(both.encode()).hexdigest()[:16]
        cells |= {k: row[k] for k in ("model", "run_id", "model_sha256", "input_sha256")}
        cells |= {name: str(row.file(name)) for name in MAPS if row[name]}
        if not row["probability"]:
            cells |= {"status": "failed", "reason": row["reason"]}
    results.write()  # a stop leaves the maps in the table, to go on from
    write_model(output, trained)
    kinds = tuple(kind for kind in settings.save if kind != "probability")
    again = Settings(**{**settings.__dict__, "save": kinds})
    try:
        for number, row in enumerate(rows):
            if not row["probability"]:
                continue  # it failed

            def work(row: Row = row) -> dict[str, Any]:
                heads = class_heads(trained.classes)
                stored = [name for name in MAPS if row[name]]
                if heads:
                    found = {h: _stored(row, MAPS[0], c) for c, h in enumerate(heads)}
                else:
                    found = {name: _stored(row, name) for name in stored}
                maps = {name: volume for name, (volume, _) in found.items()}
                grid = next(iter(found.values()))[1]
                hashes = [file_hash(row.file(name) or "") for name in stored]
                key = hashlib.sha256(f"{hashes} {again.digest()}".encode()).hexdigest()
                shape = tuple(next(iter(maps.values())).shape)
                with report_write_errors(output):
                    scratch = VolumeStorage.beside(output, row["name"], shape, key)
                    return finish_row(row, maps, grid, trained, again, output, scratch)

            results.finish(number, cells_or_failure(work))
    finally:
        results.write()
    return results


def _stored(row: Row, name: str, channel: int = 0) -> tuple[Volume, Grid]:
    """Return a stored map and how it lies in space."""
    path = row.file(name)
    pixels = open_pixels(path or "", channel)
    if pixels.dtype != np.uint8 and pixels.dtype.kind != "f":
        raise ImageError(
            str(path),
            f"holds {pixels.dtype}, no map of a network",
            "Expected 0..255 (uint8) or 0..1 (floats), as `cytoloop predict` writes them.",
        )
    # a table of `predict` knows whether the voxel size was known; a file may state 1 for unknown
    stated = None if row["status"] else pixels.spacing_um
    return PixelVolume(pixels), Grid(row.spacing_um or stated, pixels.origin_um)
