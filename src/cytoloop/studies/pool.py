"""The pool of a study: images without labels, predicted by the models of its best combination."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from cytoloop.errors import CytoloopError, Faults, ManifestError
from cytoloop.inference.inputs.list_inputs import list_inputs
from cytoloop.inference.model_source import ModelSource
from cytoloop.inference.predict_rows import predict_rows
from cytoloop.inference.results.predictions_csv import TABLE
from cytoloop.inference.settings import OutputSettings, PredictionSettings, WindowSettings
from cytoloop.studies.effects import ranking
from cytoloop.studies.settings import ENSEMBLE, OF_FOLDS
from cytoloop.studies.tables import read_study
from cytoloop.tracking.checkpoints import LocatedCheckpoint, locate_checkpoint

log = logging.getLogger(__name__)


def predict_pool(study: Path, pool: str, output: Path) -> list[Path]:
    """Predict a pool with each model of the best combination; return the tables.

    Predictions that are there, with the same model and images, are used again.

    Parameters
    ----------
    study : Path
        Folder of a study.
    pool : str
        Images, as `cytoloop predict` takes them.
    output : Path
        The predictions of each model go into ``models/RUN``.

    Raises
    ------
    CytoloopError
        No study or no model of it, and no images: all at once. Or images that cannot be predicted.
    """
    faults = Faults()
    models = faults.attempt(partial(best_models, study)) or {}
    rows = faults.attempt(partial(list_inputs, pool)) or []
    faults.raise_all("cytoloop rank")
    tables = []
    for name, model in models.items():
        source = ModelSource((str(model.path),), model.uri, model.run_id)
        classes = source.load(WindowSettings()).training.classes
        save = ("probability", "mask" if classes else "labels")
        folder = output / "models" / name
        log.info("predicting %d image(s) with %s", len(rows), model.uri)
        found = predict_rows(rows, source, folder, PredictionSettings(output=OutputSettings(save)))
        if (failed := found.failures()) is not None:
            raise failed
        tables.append(folder / TABLE)
    return tables


def best_models(study: Path) -> dict[str, LocatedCheckpoint]:
    """Return the models of the best combination that was trained here, by the key of their run.

    Raises
    ------
    ManifestError
        No study, or no trained model in its folder.
    """
    found = read_study(study)
    for ranked in ranking(found):
        runs = [row for row in found.done if _has_levels(row, ranked.levels)]
        models = {row["run"]: _locate(study / row["folder"]) for row in runs}
        trained = {name: model for name, model in models.items() if model is not None}
        if trained:
            levels = ", ".join(f"{name} {level}" for name, level in ranked.levels.items())
            log.info("%d model(s) of the best combination: %s", len(trained), levels)
            return trained
    raise ManifestError(
        str(study), "holds no trained model", "Its runs/ may have been removed: train again."
    )


def _has_levels(row: Mapping[str, str], levels: Mapping[str, str]) -> bool:
    """Return whether a run is a training with these levels; those of an ensemble have its rest."""
    is_training = row.get(ENSEMBLE) != OF_FOLDS
    return is_training and all(
        row[name] == level for name, level in levels.items() if name != ENSEMBLE
    )


def _locate(folder: Path) -> LocatedCheckpoint | None:
    """Return the checkpoint of a run; None without: another tool's, or removed."""
    try:
        return locate_checkpoint(str(folder))
    except CytoloopError:
        return None
