"""Calibration: threshold, outlines and watershed of a prediction, chosen on a few labelled images.

Nothing is trained. Models that were trained on other images, such as those that ship with the
package, so learn where an annotator draws outlines.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cytoloop.errors import ConfigError, ManifestError
from cytoloop.evaluation.counts.matching import match_instances
from cytoloop.evaluation.counts.objects import instance_counts
from cytoloop.inference.model_grid import facts_of_model
from cytoloop.inference.model_source import ModelSource
from cytoloop.inference.postprocess.instance_rule import instance_rule
from cytoloop.inference.postprocess.segment_maps import segment_maps
from cytoloop.inference.postprocess.settings import RANGES, TUNED, PostprocessSettings
from cytoloop.inference.postprocess.training_facts import TrainingFacts
from cytoloop.inference.settings import BRIGHTNESS, PredictionSettings
from cytoloop.inference.volume_storage import VolumeStorage
from cytoloop.inference.windows.brightness import cuts_haze
from cytoloop.inference.windows.probability_maps import ProbabilityMaps
from cytoloop.instances.grow import grow_labels
from cytoloop.instances.haze import cut_haze, is_bright
from cytoloop.instances.settings import InstanceSettings
from cytoloop.training.calibration_images import (
    LabelledImage,
    PredictedImage,
    predict_labelled,
    read_labelled,
    with_diameter,
)
from cytoloop.training.tuning import best_threshold, best_watershed, pooled_scores
from cytoloop.training.tuning_images import (
    are_thin,
    count_objects,
    has_objects,
    true_objects,
)

log = logging.getLogger(__name__)

_GROWTH, _GROWTH_Z = (-1, 0, 1), (-1, 0, 1, 2)
"""Voxels by which objects may grow within planes and along Z: annotators draw outlines wider or
tighter than a model that has not seen them, above all along Z."""
_HAZE = (0.0, 0.55)
"""Brightness below which voxels are background; 0.5 = as around the objects."""
_OUTLINES = ("threshold", "grow_um", "grow_z_um", "haze")
_LEAST_GAIN = 0.01
"""Mean of AP at IoU 0.5 and SEG that another threshold, growth or haze must gain."""
_SEVERAL = 3
"""Labelled images from which watershed and haze are chosen, too. Measured on BBBC050, calibrated by
one stack: its watershed costs other embryos 0.015 SEG, its haze 0.03 AP."""


def calibrate(
    table: str | Path, model: ModelSource, settings: PredictionSettings
) -> PredictionSettings:
    """Return the settings with the values that fit the labelled images best.

    Threshold, growth and haze are those of the model, unless others have a higher mean of AP at IoU
    0.5 and SEG, see `_best_outlines`. The watershed has the highest such mean; with fewer
    than three images it stays. Masks of thin structures have a threshold only. Values that the user
    states stay. A model that knows a range of sizes also gets the size of the labelled objects, if
    no size is stated.

    Parameters
    ----------
    table : str or Path
        Data set (CSV) with columns ``raw`` and ``seg1``; at most 16 of its images are used.
    model : ModelSource
    settings : PredictionSettings

    Raises
    ------
    ConfigError
        The model predicts no objects.
    ImageError, ManifestError
        Images without labels, or whose labels do not fit them.
    """
    predictor = model.load(settings.windows)
    if predictor.training.classes or predictor.training.output:
        raise ConfigError(
            f"calibrate={table}",
            "the model predicts no probability of one kind of object",
            "Leave calibrate= out.",
        )
    cuts = cuts_haze(settings.postprocess, predictor.training, int(predictor.image["channels"]))
    examples = read_labelled(table, predictor, settings.reading)
    if not sum(count_objects(one) for one in examples):
        raise ManifestError(str(table), "its images hold no labelled object", "Label some.")
    reading = with_diameter(settings.reading, examples, predictor)
    cuts |= settings.postprocess.haze == "tuned" and len(examples) >= _SEVERAL
    predicted = [predict_labelled(one, predictor, reading, cuts) for one in examples]
    maps = [one.maps for one in predicted]
    plain, facts = settings.postprocess, facts_of_model(predictor, reading)
    bright = [_bright_part(one, _usual_haze(plain, facts)) for one in maps]
    threshold, _ = best_threshold(bright, examples)
    chosen: dict[str, Any] = {"threshold": threshold}
    if plain.instances and not are_thin(examples):
        chosen = _best_outlines(predicted, examples, plain, threshold)
        if len(examples) < _SEVERAL or not has_objects(examples):
            log.info(
                "the watershed stays: it is chosen from %d images on, with objects side by side",
                _SEVERAL,
            )
        elif not isinstance(chosen["threshold"], str):
            grown = replace(plain, **{name: chosen[name] for name in _OUTLINES})
            cut = chosen["threshold"]
            chosen |= best_watershed(maps, examples, grown, facts, cut, len(examples))
    listed = ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in chosen.items()
    )
    log.info("calibrated on %d labelled image(s): %s", len(examples), listed)
    tuned = {n: round(v, 4) for n, v in chosen.items() if n in TUNED and not isinstance(v, str)}
    return replace(
        settings,
        reading=reading,
        postprocess=plain.resolve_tuned(tuned, tuned),
        calibrated=tuned,
    )


def _usual_haze(settings: PostprocessSettings, facts: TrainingFacts) -> float:
    """Return the haze that is cut off where nothing is chosen."""
    return float(settings.resolve_tuned(facts.tuned).haze)


def _bright_part(maps: ProbabilityMaps, haze: float) -> np.ndarray:
    """Return the probability, 0 where it is haze."""
    probability = np.asarray(maps["probability"])
    if BRIGHTNESS not in maps:
        return probability
    box = tuple(slice(0, n) for n in probability.shape)
    return np.where(is_bright(maps[BRIGHTNESS], haze, box), probability, 0)


def _best_outlines(
    predicted: Sequence[PredictedImage],
    examples: Sequence[LabelledImage],
    settings: PostprocessSettings,
    threshold: float,
) -> dict[str, Any]:
    """Return threshold, growth within planes and along Z, and haze to cut off; and their scores.

    They start with the values of the model; without a tuned threshold with that of the highest
    Dice. The other threshold, growth by whole voxels of the first image and, from `_SEVERAL` images
    on, other haze must raise the mean of AP at IoU 0.5 and SEG by `_LEAST_GAIN`. What the user
    states stays. Growth is in um, or in voxels if no image states a voxel size; if only some do,
    objects do not grow.
    """
    spacing, shape = examples[0].spacing_um or (1.0, 1.0, 1.0), examples[0].labels.shape
    facts = predicted[0].facts  # threshold and haze of the model are the same for all
    own = settings.resolve_tuned(facts.tuned).threshold
    both = (own, threshold) if "threshold" in (facts.tuned or {}) else (threshold, own)
    thresholds = list(dict.fromkeys(both if settings.threshold == "tuned" else (own,)))
    is_mixed = len({one.spacing_um is None for one in examples}) == 2
    by_plane = len(shape) == 2 or facts.goes_by_plane(shape)
    across = _candidates("grow_um", settings, (0,) if is_mixed else _GROWTH, spacing[-1])
    along = _candidates("grow_z_um", settings, (0,) if is_mixed else _GROWTH_Z, spacing[0])
    usual = _usual_haze(settings, facts)
    is_free = settings.haze == "tuned" and len(predicted) >= _SEVERAL
    is_free &= all(BRIGHTNESS in one.maps for one in predicted)
    haze = list(dict.fromkeys((usual, *_HAZE))) if is_free else [usual]
    along = [0.0] if by_plane else along
    candidates = sorted(  # of equal ones, the first: what changes least
        itertools.product(thresholds, across, along, haze),
        key=lambda one: (abs(one[1]) + abs(one[2]), abs(one[3] - usual)),
    )
    counts: dict[tuple[Any, ...], list[dict[str, float]]] = {one: [] for one in candidates}
    for one, seen in zip(examples, predicted, strict=True):
        truth, valid = true_objects(one), np.asarray(one.valid)
        ndim = 2 if by_plane else truth.ndim
        for level in thresholds:
            labels = _all_objects(one, seen, replace(settings, threshold=level))
            for growth in itertools.product(across, along):
                grown = replace(settings, grow_um=growth[0], grow_z_um=growth[1])
                rule = instance_rule(
                    grown.resolve_tuned(seen.facts.tuned), 0.5, one.spacing_um, seen.facts, ndim
                )
                whole = grow_labels(labels, rule.grow, rule.grow_planes)
                for cut in haze:
                    bright = np.asarray(seen.maps[BRIGHTNESS]) if cut else None
                    found = whole if bright is None else cut_haze(whole, bright, cut)
                    matching = match_instances(truth, _of_size(found, rule), valid)
                    counts[level, *growth, cut].append(instance_counts(matching))
    scores = [pooled_scores(counts[one]) for one in candidates]
    worth = np.nan_to_num([(one["ap_50"] + one["seg"]) / 2 for one in scores])
    start = [candidate == (thresholds[0], 0.0, 0.0, usual) for candidate in candidates]
    best = int(np.argmax(np.round(worth + _LEAST_GAIN * np.array(start), 6)))
    reached = {name: float(scores[best][name]) for name in ("ap_50", "seg")}
    return {**dict(zip(_OUTLINES, candidates[best], strict=True)), **reached}


def _candidates(
    name: str, settings: PostprocessSettings, steps: Sequence[int], side: float
) -> list[float]:
    """Return the growths to try, in um: steps of a voxel, or what the user states."""
    stated = getattr(settings, name)
    if stated != "tuned":
        return [float(stated)]
    low, high = RANGES[name]
    return [step * float(side) for step in steps if low <= step * side < high]


def _all_objects(
    one: LabelledImage, seen: PredictedImage, settings: PostprocessSettings
) -> np.ndarray:
    """Return the objects of all sizes before they grow: sizes count afterwards."""
    rule = replace(
        settings, grow_um=0.0, grow_z_um=0.0, haze=0.0, min_volume_um3=0.0, max_volume_um3=None
    )
    create = VolumeStorage().create
    found = segment_maps(seen.maps, one.spacing_um, rule, seen.facts, create, with_mask=False)
    return np.asarray(found.volumes["labels"])


def _of_size(labels: np.ndarray, rule: InstanceSettings) -> np.ndarray:
    """Return labels without the objects that are too small or too large."""
    voxels = np.bincount(labels.ravel())
    kept = (voxels >= rule.min_voxels) & (voxels <= rule.max_voxels)
    kept[0] = False
    return np.where(kept[labels], labels, 0)
