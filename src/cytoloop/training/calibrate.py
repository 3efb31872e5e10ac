"""Calibration: threshold, outlines and watershed of a prediction, chosen on a few labelled images.

Nothing is trained. Models that were trained on other images, such as those that ship with the
package, so learn where an annotator draws outlines.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cytoloop.errors import ConfigError, Faults, ImageError, ManifestError
from cytoloop.evaluation.counts.matching import match_instances
from cytoloop.evaluation.counts.objects import instance_counts
from cytoloop.evaluation.inputs.images import read_truth
from cytoloop.inference.inputs.list_inputs import list_inputs
from cytoloop.inference.inputs.open_input import open_input
from cytoloop.inference.model_grid import facts_of_model, on_grid_of_model
from cytoloop.inference.model_source import ModelSource
from cytoloop.inference.postprocess.instance_rule import instance_rule
from cytoloop.inference.postprocess.segment_maps import segment_maps
from cytoloop.inference.postprocess.settings import RANGES, TUNED, PostprocessSettings
from cytoloop.inference.postprocess.training_facts import TrainingFacts
from cytoloop.inference.settings import BRIGHTNESS, PredictionSettings, ReadingSettings
from cytoloop.inference.volume_storage import VolumeStorage
from cytoloop.inference.windows.brightness import brightness, cuts_haze
from cytoloop.inference.windows.object_scale import diameter_of
from cytoloop.inference.windows.plane_maps import predict_image_maps
from cytoloop.inference.windows.predictor import Predictor
from cytoloop.inference.windows.probability_maps import ProbabilityMaps, resample_to_image
from cytoloop.instances.grow import grow_labels
from cytoloop.instances.haze import cut_haze, is_bright
from cytoloop.instances.settings import InstanceSettings
from cytoloop.io.pixels import Pixels
from cytoloop.io.voxel_size import Spacing
from cytoloop.manifest import Row
from cytoloop.training.tuning import best_threshold, best_watershed, pooled_scores
from cytoloop.training.tuning_images import count_objects, evenly, has_objects, true_objects

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


@dataclass(frozen=True)
class _Labelled:
    """A labelled image, as `cytoloop.training.tuning_images.AnnotatedImage`."""

    id: str
    pixels: Pixels
    labels: np.ndarray
    valid: np.ndarray

    @property
    def image(self) -> np.ndarray:
        return self.pixels.read(tuple(slice(0, n) for n in self.pixels.shape))

    @property
    def spacing_um(self) -> Spacing | None:
        return self.pixels.spacing_um


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
    cuts_haze(settings.postprocess, predictor.training, int(predictor.image["channels"]))
    examples = _read_all(table, predictor, settings.reading)
    if not sum(count_objects(one) for one in examples):
        raise ManifestError(str(table), "its images hold no labelled object", "Label some.")
    reading = _with_diameter(settings.reading, examples, predictor)
    maps = [_predict(one, predictor, reading) for one in examples]
    plain, facts = settings.postprocess, facts_of_model(predictor, reading)
    bright = [_bright_part(one, _usual_haze(plain, facts)) for one in maps]
    threshold, _ = best_threshold(bright, examples)
    chosen: dict[str, Any] = {"threshold": threshold}
    if plain.instances and has_objects(examples):
        chosen = _best_outlines(maps, examples, plain, facts, threshold)
        if len(examples) < _SEVERAL:
            log.info("the watershed stays: it is chosen from %d images on", _SEVERAL)
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
    maps: Sequence[ProbabilityMaps],
    examples: Sequence[_Labelled],
    settings: PostprocessSettings,
    facts: TrainingFacts,
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
    own = settings.resolve_tuned(facts.tuned).threshold
    both = (own, threshold) if "threshold" in (facts.tuned or {}) else (threshold, own)
    thresholds = list(dict.fromkeys(both if settings.threshold == "tuned" else (own,)))
    is_mixed = len({one.spacing_um is None for one in examples}) == 2
    by_plane = len(shape) == 2 or facts.goes_by_plane(shape)
    across = _candidates("grow_um", settings, (0,) if is_mixed else _GROWTH, spacing[-1])
    along = _candidates("grow_z_um", settings, (0,) if is_mixed else _GROWTH_Z, spacing[0])
    usual = _usual_haze(settings, facts)
    is_free = settings.haze == "tuned" and len(maps) >= _SEVERAL
    is_free &= all(BRIGHTNESS in one for one in maps)
    haze = list(dict.fromkeys((usual, *_HAZE))) if is_free else [usual]
    along = [0.0] if by_plane else along
    candidates = sorted(  # of equal ones, the first: what changes least
        itertools.product(thresholds, across, along, haze),
        key=lambda one: (abs(one[1]) + abs(one[2]), abs(one[3] - usual)),
    )
    counts: dict[tuple[Any, ...], list[dict[str, float]]] = {one: [] for one in candidates}
    for one, seen in zip(examples, maps, strict=True):
        truth, valid = true_objects(one), np.asarray(one.valid)
        ndim = 2 if by_plane else truth.ndim
        for level in thresholds:
            labels = _all_objects(one, seen, replace(settings, threshold=level), facts)
            for growth in itertools.product(across, along):
                grown = replace(settings, grow_um=growth[0], grow_z_um=growth[1])
                rule = instance_rule(
                    grown.resolve_tuned(facts.tuned), 0.5, one.spacing_um, facts, ndim
                )
                whole = grow_labels(labels, rule.grow, rule.grow_planes)
                for cut in haze:
                    found = cut_haze(whole, np.asarray(seen[BRIGHTNESS]), cut) if cut else whole
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
    one: _Labelled, maps: ProbabilityMaps, settings: PostprocessSettings, facts: TrainingFacts
) -> np.ndarray:
    """Return the objects of all sizes before they grow: sizes count afterwards."""
    rule = replace(
        settings, grow_um=0.0, grow_z_um=0.0, haze=0.0, min_volume_um3=0.0, max_volume_um3=None
    )
    found = segment_maps(maps, one.spacing_um, rule, facts, VolumeStorage().create, with_mask=False)
    return np.asarray(found.volumes["labels"])


def _of_size(labels: np.ndarray, rule: InstanceSettings) -> np.ndarray:
    """Return labels without the objects that are too small or too large."""
    voxels = np.bincount(labels.ravel())
    kept = (voxels >= rule.min_voxels) & (voxels <= rule.max_voxels)
    kept[0] = False
    return np.where(kept[labels], labels, 0)


def _labelled_rows(table: str | Path) -> list[Row]:
    """Return at most 16 rows of a table, evenly spaced.

    Raises
    ------
    ManifestError
        A row names no segmentation.
    """
    rows = list_inputs(table)
    if lacking := [row.id for row in rows if not (row["seg1"] or row["seg2"])]:
        raise ManifestError(
            str(table),
            [f"{one}: no seg1" for one in lacking],
            "Give a CSV with the columns raw and seg1, such as train.csv of a data set.",
        )
    return evenly(rows)


def _read_all(
    table: str | Path, predictor: Predictor, settings: ReadingSettings
) -> list[_Labelled]:
    """Return the labelled images of a table; all that cannot be read are one error."""
    faults = Faults()
    rows = _labelled_rows(table)
    found = [faults.attempt(partial(_read, row, predictor, settings)) for row in rows]
    faults.raise_all(f"calibrate={table}")
    return [one for one in found if one is not None]


def _read(row: Row, predictor: Predictor, settings: ReadingSettings) -> _Labelled:
    pixels = open_input(row, predictor, replace(settings, pyramid_level=0))
    labels, valid, _ = read_truth(row)
    if labels.shape != tuple(pixels.shape):
        raise ImageError(
            row["seg1"] or row["seg2"],
            f"shape {labels.shape} but raw ({row['raw']}) is {tuple(pixels.shape)}",
            "Give image and labels of the same size.",
        )
    return _Labelled(row.id, pixels, labels, valid)


def _with_diameter(
    settings: ReadingSettings, examples: Sequence[_Labelled], predictor: Predictor
) -> ReadingSettings:
    """Return the settings with the diameter of the labelled objects, if the model can use it."""
    stated = settings.object_diameter_um not in (None, "auto") or settings.resample is True
    if stated or not predictor.image.get("object_diameter_px"):
        return settings
    diameters, sizes = [], []
    for one in examples:
        spacing = one.spacing_um or (1.0, 1.0, 1.0)
        dims = one.labels.ndim
        voxels = np.bincount(true_objects(one).ravel())[1:]
        volumes = voxels[voxels > 0] * math.prod(spacing[-dims:])
        diameters += [diameter_of(float(volume), dims) for volume in volumes]
        sizes += volumes.tolist()
    order = np.argsort(diameters)
    weight = np.cumsum(np.array(sizes)[order])
    middle = np.array(diameters)[order][np.searchsorted(weight, weight[-1] / 2)]
    return replace(settings, object_diameter_um=round(float(middle), 4))


def _predict(one: _Labelled, predictor: Predictor, settings: ReadingSettings) -> ProbabilityMaps:
    storage = VolumeStorage()
    seen, _ = on_grid_of_model(one.id, one.pixels, predictor, settings)
    maps = predict_image_maps(one.id, seen, predictor, storage)
    if len(seen.channels) == 1:
        maps[BRIGHTNESS] = brightness(maps, seen, predictor.training, storage)
    return resample_to_image(maps, one.pixels.shape, storage)
