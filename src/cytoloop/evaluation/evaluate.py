"""Evaluation of predictions against truth: one row an image, and a summary."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cytoloop.errors import ConfigError, ManifestError, join_names
from cytoloop.evaluation.bootstrap import is_one_file
from cytoloop.evaluation.counts.calibration import summarise_calibration
from cytoloop.evaluation.inputs.pairing import (
    AUTO,
    PairedRows,
    Series,
    annotation_rows,
    pair_rows,
    pair_tables,
)
from cytoloop.evaluation.inputs.planes import stack_id
from cytoloop.evaluation.metrics import METRICS, SURFACE
from cytoloop.evaluation.scoring.classes import score_classes
from cytoloop.evaluation.scoring.conditions import (
    DUPLICATE_COLUMN,
    mark_duplicates,
    setting_cells,
)
from cytoloop.evaluation.scoring.image import ScoredImage
from cytoloop.evaluation.scoring.objects import score_objects
from cytoloop.evaluation.scoring.pairs import ScoreImage, score_pairs
from cytoloop.evaluation.settings import EvaluationSettings
from cytoloop.evaluation.size_recall import summarise_size_recall
from cytoloop.evaluation.summary import MIXED, means, summarise_classes, summarise_objects
from cytoloop.truth.regions import box_rules
from cytoloop.workers.engine import Engine

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """Result of an evaluation.

    Attributes
    ----------
    images : list of ScoredImage
    summary : dict
        ``scored`` and ``unscored`` images, ``planes_of_stacks`` (planes of each stack), ``mean``
        over images, ``groups`` (means of each), ``pooled`` scores, ``intervals``,
        ``parts_of_images`` (their ids); see docs/reference/evaluation.md.
    classes : tuple of str
        Names of the classes; empty for an evaluation of objects.
    """

    images: list[ScoredImage]
    summary: dict[str, Any]
    classes: tuple[str, ...] = ()

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Rows of ``metrics.csv``: id, group, run_id, files, counts, scores."""
        return [image.row for image in self.images]


def evaluate(
    predictions: str | Path,
    truth: str | Path,
    settings: EvaluationSettings | None = None,
    annotator2: str | Path | None = None,
    classes: Sequence[str] = (),
    engine: Engine | None = None,
) -> Evaluation:
    """Score every prediction that has a truth.

    Parameters
    ----------
    predictions, truth : str or Path
        See `cytoloop.evaluation.inputs.pairing.pair_rows`.
    settings : EvaluationSettings, optional
    annotator2 : str or Path, optional
        The same images, segmented by a second person: a manifest, folder or glob. They are scored
        like predictions, which shows how well people agree.
    classes : sequence of str
        Names of the values 1, 2, ... where images hold classes; empty: they hold objects or masks.
    engine : Engine, optional
        Which processes score the images; default: this one.

    Raises
    ------
    ConfigError
        A second annotator of classes.
    ManifestError
        No pairs, files that cannot be scored (all of them at once), or excluded images only.
    """
    if classes and annotator2 is not None:
        raise ConfigError(
            "annotator2",
            "cannot be combined with classes",
            "Evaluate the second annotation on its own: predictions=SECOND truth=... classes=[...]",
        )
    settings = settings or EvaluationSettings()
    read_as = AUTO if classes else settings.predictions_are
    series = Series(
        settings.scene, settings.time, settings.axes, settings.axes_truth, settings.planes
    )
    paired = pair_rows(predictions, truth, read_as, settings.threshold, settings.key, series)
    second = None
    if annotator2 is not None:
        rows = annotation_rows(annotator2, settings.key)
        of_second = replace(series, axes=settings.axes_truth)
        second = pair_tables(rows, str(annotator2), str(truth), settings.key, of_second)
    for _, true in [*paired.pairs, *(second.pairs if second else [])]:
        true.values["ignore_label"] = true["ignore_label"] or settings.ignore_cell
    score: ScoreImage = partial(score_classes, names=classes) if classes else score_objects
    engine = engine or Engine()
    images, excluded = score_pairs(paired, str(predictions), settings, score, engine)
    if not images:
        raise ManifestError(
            str(truth), "all images are completely excluded", "Check the column 'exclude_mask'."
        )
    counted, duplicates = _without_duplicates(images)
    summary = _coverage(counted, paired, excluded, duplicates)
    if stacks := Counter(stack_id(one.row["id"]) for one in counted if one.row["plane"]):
        summary["planes_of_stacks"] = dict(stacks)
        text = "scored plane by plane: %d planes of %d stack(s)"
        log.info(text, sum(stacks.values()), len(stacks))
    summary |= {"settings": setting_cells(settings)} | _summarise(counted, settings, classes)
    summary |= _warn_of_one_source(counted, paired)
    if second is not None:
        summary["annotator2"] = _score_second(counted, second, str(annotator2), settings, engine)
    if summary["unit"] == MIXED:
        labels = " and ".join(m.label for m in METRICS.values() if m.group == SURFACE)
        log.warning(
            "the voxel size of some images is unknown: no mean of %s. "
            "Set spacing_um='[z,y,x]' for these images.",
            labels,
        )
    return Evaluation(images, summary, tuple(classes))


def _without_duplicates(images: list[ScoredImage]) -> tuple[list[ScoredImage], list[str]]:
    """Return the images that count, and the ids of those that show the image of another row."""
    found = mark_duplicates([one.row for one in images], [one.keys for one in images])
    if found:
        log.warning(
            "%d image(s) show the same image as another row and count once: %s",
            len(found),
            join_names(
                f"{one.row['id']} = {one.row[DUPLICATE_COLUMN]}"
                for one in images
                if one.row[DUPLICATE_COLUMN]
            ),
        )
    return [one for one in images if not one.row[DUPLICATE_COLUMN]], found


def _coverage(
    images: Sequence[ScoredImage],
    paired: PairedRows,
    excluded: Sequence[str],
    duplicates: Sequence[str],
) -> dict[str, Any]:
    """Return the number of scored images, the ids of the others, and why predictions failed.

    Every image that does not count is in one list of ``unscored``.
    """
    return {
        "scored": len(images),
        "unscored": {
            "predictions_without_truth": paired.without_truth,
            "truths_without_prediction": paired.without_prediction,
            "truths_rejected": paired.rejected,
            "excluded_as_a_whole": list(excluded),
            "same_image_as_another": list(duplicates),
        },
        "failures": paired.failures,
    }


def _warn_of_one_source(images: Sequence[ScoredImage], paired: PairedRows) -> dict[str, Any]:
    """Warn if scores say little about other images; return what the summary says of that."""
    if parts := [one.id for _, one in paired.pairs if box_rules(one["exclude"])]:
        log.warning(
            "%s: a part of an image of which the model has seen other parts. These scores say how "
            "well it continues this image, not how well it does on other images",
            join_names(parts),
        )
        return {"parts_of_images": parts}
    if is_one_file([one.row for one in images]):
        log.warning(
            "all %d images are of one file: intervals say how scores vary within it, not how well "
            "the model does on other files",
            len(images),
        )
        return {"one_file": True}
    return {}


def _summarise(
    images: Sequence[ScoredImage], settings: EvaluationSettings, classes: Sequence[str]
) -> dict[str, Any]:
    """Return the summary of all scores; add recall by size to the rows of images with objects."""
    rows = [image.row for image in images]
    resamples, seed, tolerance = settings.resamples, settings.seed, settings.tolerance_um
    if classes:
        return summarise_classes(rows, resamples, seed, classes) | {"tolerance": tolerance}
    sizes = summarise_size_recall(images, resamples, seed)
    summary = summarise_objects(rows, resamples, seed)
    summary |= {"tolerance": tolerance, "recall_by_size": sizes}
    histograms = [image.histogram for image in images if image.histogram is not None]
    if histograms:
        total = np.sum(histograms, axis=0)
        summary["calibration"] = summarise_calibration(total, len(histograms))
    return summary


def _score_second(
    images: Sequence[ScoredImage],
    second: PairedRows,
    source: str,
    settings: EvaluationSettings,
    engine: Engine,
) -> dict[str, Any]:
    """Return the scores of the second annotator, beside those of the model on the same images."""
    wanted = {image.prediction.id for image in images}
    second = replace(second, pairs=[pair for pair in second.pairs if pair[0].id in wanted])
    scored, _ = score_pairs(second, source, settings, score_objects, engine)
    if not scored:
        raise ManifestError(
            source, "holds none of the scored images", "Pass segmentations of the same images."
        )
    both = {image.prediction.id for image in scored}
    rows = [image.row for image in scored]
    found = summarise_objects(rows, settings.resamples, settings.seed)
    return {
        "source": source,
        "images": sorted(both),
        "missing": sorted(wanted - both),
        "mean": found["mean"],
        "pooled": found["pooled"],
        "intervals": found["intervals"],
        "model": means([image.row for image in images if image.prediction.id in both]),
    }
