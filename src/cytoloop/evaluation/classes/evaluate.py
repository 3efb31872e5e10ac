"""Score images of classes: one row an image, and what they come to together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cytoloop.errors import ManifestError
from cytoloop.evaluation.classes.score import score_classes
from cytoloop.evaluation.classes.summary import summarise_classes
from cytoloop.evaluation.evaluate import EvaluationSettings, accounts, score_all
from cytoloop.evaluation.inputs.pairing import pair_rows
from cytoloop.manifest import Row, read_manifest
from cytoloop.truth.classes import read_names


@dataclass(frozen=True)
class ClassEvaluation:
    """What an evaluation of classes found.

    Attributes
    ----------
    rows : list of dict
        One an image, see `score_classes`.
    summary : dict
        See `summarise_classes`; and ``scored``, ``unscored``, ``failures``, ``tolerance``.
    pairs : list of (Row, Row)
        Prediction and truth of each row.
    """

    rows: list[dict[str, Any]]
    summary: dict[str, Any]
    pairs: list[tuple[Row, Row]]


def stated_classes(predictions: str | Path) -> tuple[str, ...]:
    """Return the classes that a table of predictions tells; empty where it tells none.

    Parameters
    ----------
    predictions : str or Path
        ``predictions.csv`` of a model of classes; of anything else nothing is known.

    Raises
    ------
    ManifestError
        Its rows tell different ones.
    """
    if not str(predictions).lower().endswith(".csv"):
        return ()
    stated = {row["classes"] for row in read_manifest(predictions, ()) if row["classes"]}
    if len(stated) > 1:
        raise ManifestError(
            str(predictions),
            f"its rows tell different classes: {'; '.join(sorted(stated))}",
            "Evaluate the predictions of each model by themselves.",
        )
    return read_names(stated.pop().split(), str(predictions)) if stated else ()


def evaluate_classes(
    predictions: str | Path,
    truth: str | Path,
    names: Sequence[str],
    settings: EvaluationSettings | None = None,
) -> ClassEvaluation:
    """Score the classes of every prediction that has a truth.

    Parameters
    ----------
    predictions, truth : str or Path
        See `cytoloop.evaluation.inputs.pairing.pair_rows`; images whose values are classes.
    names : sequence of str
        Of the values 1, 2, ...
    settings : Settings, optional

    Raises
    ------
    ManifestError
        No pairs, files that cannot be scored (all of them at once), or nothing but images that
        are excluded as a whole.
    """
    settings = settings or EvaluationSettings()
    paired = pair_rows(predictions, truth)

    def score(prediction: Row, true: Row) -> dict[str, Any] | None:
        return score_classes(prediction, true, names, settings.tolerance_um, settings.spacing_um)

    scored, excluded = score_all(paired, str(predictions), score)
    if not scored:
        raise ManifestError(
            str(truth), "every image is excluded as a whole", "Check the column 'exclude_mask'."
        )
    rows = [row for row, _ in scored]
    summary = accounts(rows, paired, excluded)
    summary |= summarise_classes(rows, names, settings.resamples, settings.seed)
    summary["tolerance"] = settings.tolerance_um
    return ClassEvaluation(rows, summary, [pair for _, pair in scored])
