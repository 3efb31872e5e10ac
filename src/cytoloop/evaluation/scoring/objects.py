"""Score the foreground and the objects of one image."""

from __future__ import annotations

from typing import Any

import numpy as np

from cytoloop.evaluation.counts import objects, skeletons, surfaces, voxels
from cytoloop.evaluation.counts.calibration import probability_histogram
from cytoloop.evaluation.counts.matching import match_instances
from cytoloop.evaluation.counts.object_table import make_object_tables, voxel_volume
from cytoloop.evaluation.inputs.images import (
    find_spacing,
    note_spacing_conflict,
    read_prediction,
    read_truth,
)
from cytoloop.evaluation.inputs.probability_maps import read_probability_uint8
from cytoloop.evaluation.metrics import METRICS, compute_scores
from cytoloop.evaluation.scoring.conditions import (
    identities,
    pixel_digest,
    setting_cells,
    truth_cell,
)
from cytoloop.evaluation.scoring.image import (
    ScoredImage,
    check_shape,
    manifest_cells,
    prediction_file,
)
from cytoloop.evaluation.settings import EvaluationSettings
from cytoloop.manifest import Row, part_of

COUNTS = (*voxels.COUNTS, *surfaces.COUNTS, *objects.COUNTS, *skeletons.COUNTS)
"""Columns of ``metrics.csv`` that add up over images; pooled scores are computed from the sums."""

_NO_SKELETONS = dict.fromkeys(skeletons.COUNTS, 0)


def score_objects(prediction: Row, true: Row, settings: EvaluationSettings) -> ScoredImage | None:
    """Score an image; None if all of it is excluded.

    Raises
    ------
    ImageError
        A file that cannot be read, or has another shape than the truth.
    """
    labels, predicted_is_mask = read_prediction(prediction)
    truth, valid, true_is_mask = read_truth(true)
    check_shape(prediction_file(prediction), labels, truth)
    probability = _read_probability(prediction, truth)
    if not valid.any():
        return None  # without any voxel all scores would be perfect, and raise the mean
    counted = None if valid.all() else valid
    spacing = find_spacing(prediction, true, settings.spacing_um)
    note_spacing_conflict(prediction, true, truth.ndim)
    steps = spacing[-truth.ndim :] if spacing else None
    matching = match_instances(truth, labels, counted)
    histogram = None if probability is None else probability_histogram(probability, truth, counted)
    counts: dict[str, Any] = {
        **voxels.count_voxels(truth, labels, counted),
        **surfaces.count_surfaces(
            truth, labels, counted, steps or (1.0,) * truth.ndim, settings.tolerance_um
        ),
        **objects.instance_counts(matching),
        **(skeletons.count_skeletons(truth, labels, counted) if true_is_mask else _NO_SKELETONS),
        "probability_histogram": histogram,
    }
    row = {
        **manifest_cells(prediction, true, "mask" if predicted_is_mask else "labels", spacing),
        **compute_scores(counts, METRICS.values()),
        **{name: counts[name] for name in COUNTS},
        "fp_50": counts["n_predicted"] - counts["tp_50"],
        "fn_50": counts["n_truth"] - counts["tp_50"],
        "truth_is_binary": true_is_mask,
        "prediction_is_binary": predicted_is_mask,
        **setting_cells(settings),
        **truth_cell(truth, valid),
    }
    keys = identities(prediction, true, row, pixel_digest(labels))
    tables = make_object_tables(truth, labels, counted, matching)
    return ScoredImage(prediction, true, row, tables, voxel_volume(steps), histogram, tuple(keys))


def _read_probability(prediction: Row, truth: np.ndarray) -> np.ndarray | None:
    """Return the probability map of a prediction as uint8, None without one."""
    path = prediction.file("probability")
    if path is None:
        return None
    probability = read_probability_uint8(path, part_of(prediction, "probability", path))
    check_shape(str(path), probability, truth)
    return probability
