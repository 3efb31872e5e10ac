"""Tables of a study on disk: ``study.json`` (its settings) and ``runs.csv`` (one row for a run)."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cytoloop.errors import ManifestError
from cytoloop.evaluation.metrics import METRICS
from cytoloop.evaluation.output.tables import write_json, write_rows
from cytoloop.studies.runs import DONE, SCORES, SUMMARY, Run
from cytoloop.studies.settings import ENSEMBLE, OF_FOLDS, ONE, StudySettings
from cytoloop.tracking.output_folder import read_run_id
from cytoloop.tracking.study_store import STUDY_FILE

RUNS_FILE = "runs.csv"
POOL_FOLDER = "next"
"""Folder with the ranking of a pool, see `cytoloop rank`; the report shows it."""
IOUS = tuple(range(50, 100, 5))
"""IoU in percent at which matches are counted in ``metrics.csv``."""


@dataclass(frozen=True)
class StudyScores:
    """The finished runs of a study with the scores of their images.

    Attributes
    ----------
    factors : dict of str to list of str
        Factor to the names of its levels, the base first.
    score : str
        The main score.
    rows : list of dict
        Rows of ``runs.csv``: all runs.
    done : list of dict
        The finished ones (R).
    images : list of str
        Ids of the test images (N).
    units : list of str
        Independent unit of each image.
    unit : str
        ``group`` or ``image``.
    values : ndarray of float
        (R, N) main score; NaN where an image has none.
    counts : ndarray of float
        (R, I, 3): matches at each of `IOUS`, true and predicted objects, added up over the images.
    """

    factors: dict[str, list[str]]
    score: str
    rows: list[dict[str, str]]
    done: list[dict[str, str]]
    images: list[str]
    units: list[str]
    unit: str
    values: np.ndarray
    counts: np.ndarray


def write_study(settings: StudySettings, folder: Path, runs: Sequence[Run] = ()) -> None:
    """Write ``study.json``; ensembles among the runs make a factor."""
    content = {
        "factors": {
            **{f: [level.name for level in levels] for f, levels in settings.factors.items()},
            **({ENSEMBLE: [ONE, OF_FOLDS]} if any(run.members for run in runs) else {}),
        },
        "levels": {
            factor: {level.name: list(level.overrides) for level in levels}
            for factor, levels in settings.factors.items()
        },
        "base": list(settings.base),
        "design": settings.design,
        "seeds": list(settings.seeds),
        "score": settings.score,
    }
    write_json(content, folder / STUDY_FILE)


def write_runs(runs: Sequence[Run], factors: Sequence[str], folder: Path) -> Path:
    """Write ``runs.csv``: levels, seed, status, cost and pooled scores of each run."""
    ensembles = any(run.members for run in runs)
    rows = [_row(run, folder, ensembles) for run in runs]
    first = (
        "run",
        *factors,
        *([ENSEMBLE] if ensembles else []),
        "seed",
        "fold",
        "status",
        "train_images",
        "minutes",
        *METRICS,
    )
    return write_rows(rows, folder / RUNS_FILE, first)


def _row(run: Run, folder: Path, ensembles: bool) -> dict[str, Any]:
    """Return the row of a run, of a study with or without ensembles."""
    known: dict[str, Any] = {
        "run": run.key,
        **run.combination.names,
        **({ENSEMBLE: OF_FOLDS if run.members else ONE} if ensembles else {}),
        "seed": "" if run.combination.predictions else run.seed,
        "fold": run.fold or "",
        "status": run.status,
        "train_images": run.images,
        "minutes": "" if run.minutes is None else round(run.minutes, 3),
        "watt_hours": "" if run.watt_hours is None else round(run.watt_hours, 3),
        "folder": run.folder.relative_to(folder).as_posix(),
        "mlflow_run": read_run_id(run.folder) or "",
        "problem": run.problem.splitlines()[-1] if run.problem else "",
    }
    if run.status == DONE:
        summary = json.loads((run.folder / SUMMARY).read_text(encoding="utf-8"))
        known |= {name: value for name, value in summary["mean"].items() if name in METRICS}
        known |= {name: value for name, value in summary["pooled"].items() if name in METRICS}
    return known


def read_study(folder: Path) -> StudyScores:
    """Read the tables of a study and the scores of its finished runs.

    Raises
    ------
    ManifestError
        The folder holds no study, or none of its runs is finished.
    """
    try:
        study = json.loads((folder / STUDY_FILE).read_text(encoding="utf-8"))
        with (folder / RUNS_FILE).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise ManifestError(
            str(folder),
            f"holds no study: {Path(str(error.filename)).name} cannot be read",
            "Name the folder that `cytoloop study ... output=FOLDER` wrote.",
        ) from error
    done = [row for row in rows if row["status"] == DONE]
    if not done:
        raise ManifestError(
            str(folder / RUNS_FILE),
            f"none of the {len(rows)} runs is finished",
            "Run the same `cytoloop study` again: it goes on where it stopped.",
        )
    return _with_scores(study, rows, done, folder)


def _with_scores(
    study: dict[str, Any], rows: list[dict[str, str]], done: list[dict[str, str]], folder: Path
) -> StudyScores:
    """Return the study with the scores of the images of its finished runs."""
    from cytoloop.evaluation.bootstrap import sampling_units

    tables = []
    for row in done:
        with (folder / row["folder"] / SCORES).open(newline="", encoding="utf-8") as file:
            tables.append({one["id"]: one for one in csv.DictReader(file)})
    known = {name: image for table in tables for name, image in table.items()}
    images = sorted(known)
    units, unit = sampling_units([known[name] for name in images])
    score = str(study["score"])
    values = np.array([[_number(t.get(name, {}).get(score)) for name in images] for t in tables])
    return StudyScores(
        study["factors"], score, rows, done, images, units, unit, values, _counts(tables)
    )


def _counts(tables: Sequence[dict[str, dict[str, str]]]) -> np.ndarray:
    """Return matches, true and predicted objects of each run at each IoU (R, I, 3)."""
    names = [(f"tp_{iou}", "n_truth", "n_predicted") for iou in IOUS]
    return np.array(
        [
            [
                [
                    np.nansum([_number(image.get(column)) for image in table.values()])
                    for column in one
                ]
                for one in names
            ]
            for table in tables
        ]
    )


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")
