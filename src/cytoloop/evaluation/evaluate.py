"""Score predictions against truth: one row an image, and what they come to together."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from rich.progress import track

from cytoloop.errors import ConfigError, CytoloopError, ManifestError
from cytoloop.evaluation.counts.calibration import summarise_levels
from cytoloop.evaluation.counts.object_table import ObjectTable
from cytoloop.evaluation.inputs.pairing import (
    AUTO,
    KINDS,
    PairedRows,
    annotation_rows,
    pair_rows,
    pair_tables,
)
from cytoloop.evaluation.score_objects import Scored, score_pair
from cytoloop.evaluation.size_recall import recall_by_size
from cytoloop.evaluation.summary import means, summarise, summarise_sizes
from cytoloop.manifest import Row
from cytoloop.terminal import stderr_console

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class EvaluationSettings:
    """How an evaluation is done.

    Attributes
    ----------
    tolerance_um : float
        Of surface Dice; in voxels where the voxel size is not known.
    spacing_um : sequence of float or None
        (Z, Y, X) voxel size where neither tables nor files state it.
    resamples : int
        Of the bootstrap; 0 for none.
    seed : int
        Of the bootstrap.
    predictions_are : str
        ``labels``, ``mask`` or ``probability``; ``auto`` looks at them. Of a table it is the
        column that is scored.
    threshold : float
        Probability (0 to 1) above which a voxel is foreground, for probability maps.
    """

    tolerance_um: float = 1.0
    spacing_um: Sequence[float] | None = None
    resamples: int = 2000
    seed: int = 0
    predictions_are: str = AUTO
    threshold: float = 0.5

    def __post_init__(self) -> None:
        spacing = self.spacing_um
        problems = []
        if not 0 <= self.tolerance_um < math.inf:
            problems.append(f"tolerance_um={self.tolerance_um:g}: expected 0 or more")
        if spacing is not None and (
            len(spacing) != 3 or not all(0 < s < math.inf for s in spacing)
        ):
            problems.append(f"spacing_um={list(spacing)}: expected [z,y,x] in um, above 0")
        if self.resamples < 0:
            problems.append(f"resamples={self.resamples}: expected 0 or more")
        if self.predictions_are not in KINDS:
            problems.append(f"predictions_are={self.predictions_are}: expected {', '.join(KINDS)}")
        if not 0 <= self.threshold < 1:
            problems.append(f"threshold={self.threshold:g}: expected 0 or more, below 1")
        if problems:
            raise ConfigError("evaluate", problems, "See docs/evaluation.md.")


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes
    ----------
    rows : list of dict
        One an image: id, group, run_id, files, counts, scores.
    summary : dict
        ``scored`` and ``unscored`` images, ``mean`` over images, ``groups`` (means of each),
        ``pooled`` over all objects, ``intervals``; see docs/evaluation.md.
    pairs : list of (Row, Row)
        Prediction and truth of each row.
    objects : list of (Census, Census)
        True and predicted objects of each row.
    voxels_um3 : list of float or None
        Volume of a voxel of each row.
    """

    rows: list[dict[str, Any]]
    summary: dict[str, Any]
    pairs: list[tuple[Row, Row]]
    objects: list[tuple[ObjectTable, ObjectTable]]
    voxels_um3: list[float | None]


def evaluate(
    predictions: str | Path,
    truth: str | Path,
    settings: EvaluationSettings | None = None,
    annotator2: str | Path | None = None,
) -> Evaluation:
    """Score every prediction that has a truth.

    Parameters
    ----------
    predictions, truth : str or Path
        See `cytoloop.evaluation.inputs.pairing.pair_rows`.
    settings : Settings, optional
    annotator2 : str or Path, optional
        The same images, segmented by another person: a manifest, folder or glob. It is scored as
        a prediction is, which tells how well people agree.

    Raises
    ------
    ManifestError
        No pairs, files that cannot be scored (all of them at once), or nothing but images
        that are excluded as a whole.
    """
    settings = settings or EvaluationSettings()
    paired = pair_rows(predictions, truth, settings.predictions_are, settings.threshold)
    rivals = None
    if annotator2 is not None:
        rivals = pair_tables(annotation_rows(annotator2), str(annotator2), str(truth))
    score = _scorer(settings)
    scored, excluded = score_all(paired, str(predictions), score)
    if not scored:
        raise ManifestError(
            str(truth), "every image is excluded as a whole", "Check the column 'exclude_mask'."
        )
    rows = [one.row for one, _ in scored]
    summary = accounts(rows, paired, excluded)
    limits, unit = _add_sizes([one for one, _ in scored])
    summary |= summarise(rows, settings.resamples, settings.seed)
    summary["tolerance"] = settings.tolerance_um
    summary["recall_by_size"] = summarise_sizes(
        rows, limits, unit, settings.resamples, settings.seed
    )
    tables = [one.levels for one, _ in scored if one.levels is not None]
    if tables:
        summary["calibration"] = summarise_levels(np.sum(tables, axis=0), len(tables))
    if rivals is not None:
        summary["annotator2"] = _ceiling(rows, rivals, str(annotator2), settings)
    if summary["unit"] == "mixed":
        log.warning(
            "the voxel size of some images is not known: surface Dice and HD95 have no mean; "
            "give spacing_um='[z,y,x]'"
        )
    return Evaluation(
        rows,
        summary,
        [pair for _, pair in scored],
        [one.objects for one, _ in scored],
        [one.voxel_um3 for one, _ in scored],
    )


def _scorer(settings: EvaluationSettings) -> Callable[[Row, Row], Scored | None]:
    return partial(score_pair, tolerance_um=settings.tolerance_um, spacing_um=settings.spacing_um)


def score_all(
    paired: PairedRows, source: str, score: Callable[[Row, Row], T | None]
) -> tuple[list[tuple[T, tuple[Row, Row]]], list[str]]:
    """Return what each image gave, with its rows, and the ids of those excluded as a whole.

    Parameters
    ----------
    paired : PairedRows
    source : str
        Where the predictions come from, for messages.
    score : callable
        Prediction and truth to what is kept of an image, None where all of it is excluded.

    Raises
    ------
    ManifestError
        Images that cannot be scored, all of them.
    """
    scored, excluded, problems = [], [], []
    repairs: dict[str, None] = {}
    shown = track(
        paired.pairs,
        "scoring",
        console=stderr_console,
        transient=True,
        disable=not stderr_console.is_terminal,
    )
    for prediction, true in shown:
        try:
            one = score(prediction, true)
            if one is None:
                excluded.append(prediction.id)
            else:
                scored.append((one, (prediction, true)))
        except CytoloopError as error:
            problems += [f"{prediction.id}: {error.where}: {text}" for text in error.problems]
            repairs[error.repair] = None
    if problems:
        raise ManifestError(
            source,
            problems,
            " ".join(
                [*filter(None, repairs), "Mend these files, or take the images out of both tables."]
            ),
        )
    return scored, excluded


def accounts(
    rows: Sequence[dict[str, Any]], paired: PairedRows, excluded: Sequence[str]
) -> dict[str, Any]:
    """Return what was scored and what was not.

    Every image that is not scored is in one list of ``unscored``; ``failures`` has the reasons
    of predictions that have no picture.
    """
    return {
        "scored": len(rows),
        "unscored": {
            "predictions_without_truth": paired.without_truth,
            "truths_without_prediction": paired.without_prediction,
            "truths_rejected": paired.rejected,
            "excluded_as_a_whole": list(excluded),
        },
        "failures": paired.failures,
    }


def _add_sizes(scored: Sequence[Scored]) -> tuple[list[float], str]:
    """Add recall by size to the rows; return the limits of the quartiles and their unit.

    Volumes are in um3 (of 2D images um2) where the voxel sizes of all images are known, else in
    voxels.
    """
    known = all(one.voxel_um3 is not None for one in scored)
    volumes = [one.objects[0].voxels * (one.voxel_um3 if known else 1) for one in scored]
    found = [one.objects[0].match > 0 for one in scored]
    limits, cells = recall_by_size(volumes, found)
    for one, own in zip(scored, cells, strict=True):
        one.row.update(own)
    flat = all(one.objects[0].centres.shape[1] == 2 for one in scored)
    return limits, ("um2" if flat else "um3") if known else "voxels"


def _ceiling(
    rows: Sequence[dict[str, Any]], rivals: PairedRows, source: str, settings: EvaluationSettings
) -> dict[str, Any]:
    """Return how the second annotator scores, beside the model on the same images."""
    wanted = {row["id"] for row in rows}
    rivals = PairedRows(
        [pair for pair in rivals.pairs if pair[0].id in wanted],
        *(rivals.without_truth, rivals.without_prediction, rivals.rejected, rivals.failures),
    )
    scored, _ = score_all(rivals, source, _scorer(settings))
    people = [one.row for one, _ in scored]
    if not people:
        raise ManifestError(
            source, "holds none of the images that are scored", "Give the same images."
        )
    both = {row["id"] for row in people}
    model = [row for row in rows if row["id"] in both]
    found = summarise(people, settings.resamples, settings.seed)
    return {
        "source": source,
        "images": sorted(both),
        "missing": sorted(wanted - both),
        "mean": found["mean"],
        "pooled": found["pooled"],
        "intervals": found["intervals"],
        "model": means(model),
    }
