"""Tables that an evaluation writes: metrics.csv, objects.csv and summary.json."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cytoloop.errors import OutputError
from cytoloop.evaluation.counts.object_table import COLUMNS
from cytoloop.evaluation.counts.objects import ERRORS
from cytoloop.evaluation.evaluate import Evaluation
from cytoloop.evaluation.metrics import METRICS
from cytoloop.evaluation.scoring import classes as class_scoring
from cytoloop.evaluation.size_recall import RECALL_COLUMNS
from cytoloop.io.atomic import replacing
from cytoloop.manifest import write_manifest

METRICS_FILE, OBJECTS_FILE, SUMMARY_FILE = "metrics.csv", "objects.csv", "summary.json"


def write_tables(evaluation: Evaluation, folder: str | Path) -> list[Path]:
    """Write ``metrics.csv`` (a manifest with scores), ``objects.csv`` and ``summary.json``.

    Returns
    -------
    list of Path
        The files; without ``objects.csv`` for an evaluation of classes.

    Raises
    ------
    OutputError
        The folder cannot be written to.
    """
    folder = Path(folder)
    files = [write_rows(evaluation.rows, folder / METRICS_FILE, _first_columns(evaluation.classes))]
    if not evaluation.classes:
        files.append(write_rows(_object_rows(evaluation), folder / OBJECTS_FILE, COLUMNS))
    return [*files, write_json(evaluation.summary, folder / SUMMARY_FILE)]


def write_rows(rows: Iterable[Mapping[str, Any]], path: Path, columns: Sequence[str]) -> Path:
    """Write a CSV table, these columns first, the others sorted; return its path.

    Raises
    ------
    OutputError
        The folder cannot be written to.
    """
    with _output_errors(path):
        write_manifest(path, [{k: _cell(v) for k, v in row.items()} for row in rows], columns)
    return path


def write_json(content: Any, path: Path) -> Path:
    """Write a JSON file; return its path.

    Raises
    ------
    OutputError
        The folder cannot be written to.
    """
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    with _output_errors(path), replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


@contextmanager
def _output_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        found = f"cannot be written to: {error.strerror}"
        raise OutputError(str(path.parent), found, "Choose another output folder.") from error


def _first_columns(classes: Sequence[str]) -> list[str]:
    """Return the first columns of ``metrics.csv``; all others follow, sorted by name."""
    if not classes:
        counts = ("unit", "tp_50", "fp_50", "fn_50", "n_truth", "n_predicted", *ERRORS)
        return ["id", "group", *METRICS, *RECALL_COLUMNS, *counts]
    means = [name for name, metric in METRICS.items() if metric.per_class]
    each = [f"{one}_{c}" for c in classes for one in (*means, *class_scoring.COUNTS)]
    return ["id", "group", *means, *each, "unit", "classes"]


def _object_rows(evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    """Yield the rows of ``objects.csv``: of each image the true objects, then the predicted."""
    for image in evaluation.images:
        for side, table in zip(("true", "predicted"), image.objects or (), strict=False):
            yield from table.rows(image.row["id"], image.row["group"], side, image.voxel_um3)


def _cell(value: Any) -> Any:
    """Return a value as a cell: floats with six decimals, undefined ones empty."""
    if isinstance(value, float):
        return "" if math.isnan(value) else round(value, 6)
    return value
