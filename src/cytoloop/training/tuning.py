"""Tuning: choose threshold and watershed settings on validation images (`postprocess=tuned`)."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cytoloop.evaluation.counts.matching import match_instances
from cytoloop.evaluation.counts.objects import instance_counts
from cytoloop.evaluation.metrics import instance_scores
from cytoloop.inference.postprocess.instance_rule import instance_rule
from cytoloop.inference.postprocess.settings import (
    MIN_DEPTH,
    SEED_SMOOTHING,
    TUNED,
    PostprocessSettings,
)
from cytoloop.inference.postprocess.training_facts import TrainingFacts, class_threshold_key
from cytoloop.inference.volume_storage import VolumeStorage
from cytoloop.inference.windows.predictor import Predictor
from cytoloop.inference.windows.probability_maps import ProbabilityMaps, predict_maps
from cytoloop.instances import WatershedHierarchy
from cytoloop.instances.thresholds import BINS
from cytoloop.io.pixels import MemoryPixels
from cytoloop.model.checkpoint import read_checkpoint, write_tuned
from cytoloop.training.tuning_images import (
    ENOUGH_IMAGES,
    ENOUGH_OBJECTS,
    AnnotatedImage,
    count_objects,
    has_objects,
    select_training,
    true_objects,
)
from cytoloop.truth.classes import class_heads, class_image

log = logging.getLogger(__name__)

_FLAT = 0.001
"""Thresholds whose Dice is this close to the best are equally good; the median is chosen."""
_CAUTION = 0.003
"""Dice that is given up to raise a threshold below 0.5 towards 0.5. Measured: noise and blur of
another microscope raise the probabilities around objects, and a low threshold includes them."""


def tune(
    checkpoint: str | Path,
    examples: Sequence[AnnotatedImage],
    settings: PostprocessSettings,
    trained_on: Sequence[AnnotatedImage] = (),
) -> dict:
    """Choose threshold and watershed on annotated images and write them into the checkpoint.

    A model of classes gets one threshold for each class and no watershed.

    The threshold maximizes Dice over all voxels that are not excluded. The watershed maximizes the
    mean of AP at IoU 0.5 and SEG over all objects. Only objects are tuned for: an image has two of
    them, and the truth is no mask of thin structures.
    With few validation objects (watershed) or images (threshold) the training images are used too,
    see `cytoloop.training.tuning_images`. A network that overfits scores the same on training
    images for most settings, so the validation images still decide.

    Parameters
    ----------
    checkpoint : str or Path
        Checkpoint file, replaced atomically.
    examples : sequence of AnnotatedImage
        Validation images.
    settings : PostprocessSettings
        Settings that are not tuned.
    trained_on : sequence of AnnotatedImage
        Training images.

    Returns
    -------
    dict of str to float
        ``threshold``, ``seed_smoothing``, ``min_depth``, and their scores on the validation images:
        ``dice``, ``ap_50``, ``seg``. With classes: ``threshold_NAME``, ``dice_NAME`` and the mean
        ``dice``.
    """
    predictor = Predictor([read_checkpoint(checkpoint)])
    trained = predictor.training
    scored = len(examples)
    objects = sum(count_objects(one) for one in examples)
    few_images = scored < ENOUGH_IMAGES
    used = [*examples, *select_training(0 if few_images else objects, trained_on)]
    found = _maps(used, predictor)
    images = f"{scored} validation"
    images += f" and {len(used) - scored} training" if used[scored:] else ""
    for_threshold = len(used) if few_images else scored
    for_watershed = len(used) if objects < ENOUGH_OBJECTS else scored
    if trained.classes:
        chosen = _best_classes(found, used[:for_threshold], trained.classes, scored)
        return _write(checkpoint, chosen, images)
    maps = [np.asarray(one["probability"]) for one in found[:for_threshold]]
    threshold, dice = best_threshold(maps, used[:for_threshold], scored=scored)
    chosen = {"threshold": threshold, "dice": dice}
    found, used = found[:for_watershed], used[:for_watershed]
    if has_objects(used):
        chosen |= best_watershed(found, used, settings, trained, threshold, scored)
    return _write(checkpoint, chosen, images)


def _maps(examples: Sequence[AnnotatedImage], predictor: Predictor) -> list[ProbabilityMaps]:
    found = []
    for one in examples:
        pixels = MemoryPixels(one.image, one.spacing_um, [str(c) for c in range(len(one.image))])
        found.append(predict_maps(one.id, pixels, predictor, VolumeStorage()))
    return found


def _write(checkpoint: str | Path, found: dict[str, float], images: str) -> dict[str, float]:
    """Write the chosen values into the checkpoint, and return them as written."""
    chosen = {name: round(float(value), 4) for name, value in found.items()}
    write_tuned(checkpoint, chosen)
    listed = ", ".join(f"{name} {value:g}" for name, value in chosen.items())
    log.info("post-processing chosen on %s image(s): %s", images, listed)
    return chosen


def _best_classes(
    found: Sequence[ProbabilityMaps],
    examples: Sequence[AnnotatedImage],
    names: Sequence[str],
    scored: int,
) -> dict[str, float]:
    """Return the threshold of each class, and the Dice of each in the resulting class images.

    All images choose the thresholds, the first `scored` have the Dice. A class without voxels in
    all images keeps the default threshold.
    """
    chosen = {}
    for value, (name, head) in enumerate(zip(names, class_heads(names), strict=True), 1):
        is_present = any(
            (np.asarray(one.labels) == value)[np.asarray(one.valid)].any() for one in examples
        )
        maps = [np.asarray(one[head]) for one in found[: len(examples)]]
        best = best_threshold(maps, examples, value)[0] if is_present else TUNED["threshold"]
        chosen[class_threshold_key(name)] = best
    cuts = [chosen[class_threshold_key(name)] * (BINS - 1) for name in names]
    counts = np.zeros((len(names), 3), np.int64)
    for maps_of_one, one in zip(found[:scored], examples[:scored], strict=True):
        decided = class_image([np.asarray(v) for v in maps_of_one.values()], cuts)
        true, valid = np.asarray(one.labels), np.asarray(one.valid)
        for number in range(len(names)):
            here, there = (side[valid] == number + 1 for side in (true, decided))
            counts[number] += [here.sum(), there.sum(), (here & there).sum()]
    total = counts[:, 0] + counts[:, 1]
    dice = np.where(total > 0, 2 * counts[:, 2] / np.maximum(total, 1), 1.0)
    scores = {f"dice_{name}": float(one) for name, one in zip(names, dice, strict=True)}
    return {**chosen, "dice": float(dice.mean()), **scores}


def best_threshold(
    maps: Sequence[np.ndarray],
    examples: Sequence[AnnotatedImage],
    value: int | None = None,
    scored: int | None = None,
) -> tuple[float, float]:
    """Return the threshold with the highest Dice over all voxels not excluded, and a Dice.

    A threshold below 0.5 is raised towards 0.5 while it costs less than `_CAUTION` Dice.

    Parameters
    ----------
    maps : sequence of ndarray of uint8
        Probabilities ([Z,] Y, X), 0..255.
    examples : sequence of AnnotatedImage
    value : int, optional
        Label of the class; default all labels above 0.
    scored : int, optional
        Images, from the first on, that have the returned Dice; default all.

    Returns
    -------
    threshold : float
        Probability, 0.1 to 0.9: voxels above it are foreground.
    dice : float
        Dice of the first `scored` images at the threshold, 0 to 1.
    """
    dice = _dice_of_levels(maps, examples, value)
    good = np.flatnonzero(dice >= dice.max() - _FLAT)
    level = float(np.clip(np.median(good), 0.1 * (BINS - 1), 0.9 * (BINS - 1)))
    higher = np.flatnonzero(dice[: BINS // 2] >= dice.max() - _CAUTION)
    level = float(max([level, *higher[-1:]]))
    if scored is not None and scored < len(maps):
        dice = _dice_of_levels(maps[:scored], examples[:scored], value)
    return (level + 0.5) / (BINS - 1), float(dice[int(level)])


def _dice_of_levels(
    maps: Sequence[np.ndarray], examples: Sequence[AnnotatedImage], value: int | None
) -> np.ndarray:
    """Return the Dice of the voxels above each level of probability but the highest, (255,)."""
    inside, outside = np.zeros(BINS, np.int64), np.zeros(BINS, np.int64)
    for levels, one in zip(maps, examples, strict=True):
        labels = np.asarray(one.labels)
        true = labels > 0 if value is None else labels == value
        valid = np.asarray(one.valid)
        inside += np.bincount(levels[true & valid], minlength=BINS)
        outside += np.bincount(levels[~true & valid], minlength=BINS)
    hits = inside.sum() - inside.cumsum()
    false = outside.sum() - outside.cumsum()
    total = hits + false + inside.sum()
    return np.asarray(np.where(total > 0, 2 * hits / np.maximum(total, 1), 1.0)[:-1])


def best_watershed(
    found: Sequence[ProbabilityMaps],
    examples: Sequence[AnnotatedImage],
    settings: PostprocessSettings,
    trained: TrainingFacts,
    threshold: float,
    scored: int,
) -> dict[str, float]:
    """Return the best seed_smoothing and min_depth; their scores on the first `scored` images.

    Parameters
    ----------
    found : sequence of dict of str to Volume
        Maps of each image.
    examples : sequence of AnnotatedImage
    settings : PostprocessSettings
        Settings that are not tuned.
    trained : TrainingFacts
    threshold : float
        Probability.
    scored : int
    """
    counts: dict[tuple[float, float], list[dict[str, float]]] = {
        pair: [] for pair in itertools.product(SEED_SMOOTHING, MIN_DEPTH)
    }
    plain = settings.resolve_tuned(trained.tuned)
    for maps, one in zip(found, examples, strict=True):
        levels = np.asarray(maps["probability"])
        known = one.spacing_um or trained.spacing_um
        rule = instance_rule(plain, threshold, one.spacing_um, trained, levels.ndim)
        truth, valid = true_objects(one), np.asarray(one.valid)
        for smoothing in SEED_SMOOTHING:
            rule = replace(rule, seed_smoothing=smoothing)
            hierarchy = WatershedHierarchy(
                levels, rule, known, distance=maps.get("distance"), contour=maps.get("contour")
            )
            for depth in MIN_DEPTH:
                labels, _ = hierarchy.objects(
                    replace(rule, min_depth=depth), maps.get("brightness")
                )
                matching = match_instances(truth, np.asarray(labels), valid)
                counts[smoothing, depth].append(instance_counts(matching))
    smoothed = _average_neighbours(
        {pair: _mean(pooled_scores(each)) for pair, each in counts.items()}
    )
    best = max(smoothed, key=lambda pair: (round(smoothed[pair], 6), -_distance_to_default(pair)))
    scores = pooled_scores(counts[best][:scored])
    reached = {name: scores[name] for name in ("ap_50", "seg") if not math.isnan(scores[name])}
    return {"seed_smoothing": best[0], "min_depth": best[1], **reached}


def _average_neighbours(
    values: dict[tuple[float, float], float],
) -> dict[tuple[float, float], float]:
    """Return the mean of each setting and its neighbours: a single peak may be chance."""
    means = {}
    for smoothing, depth in values:
        row, column = SEED_SMOOTHING.index(smoothing), MIN_DEPTH.index(depth)
        near = [(row, column), (row - 1, column), (row + 1, column)]
        near += [(row, column - 1), (row, column + 1)]
        own = [
            values[SEED_SMOOTHING[r], MIN_DEPTH[c]]
            for r, c in near
            if 0 <= r < len(SEED_SMOOTHING) and 0 <= c < len(MIN_DEPTH)
        ]
        means[smoothing, depth] = math.fsum(own) / len(own)
    return means


def _distance_to_default(pair: tuple[float, float]) -> float:
    """Return the log distance of a setting to the defaults of an untuned model."""
    defaults = (TUNED["seed_smoothing"], TUNED["min_depth"])
    return sum(abs(math.log(one / other)) for one, other in zip(pair, defaults, strict=True))


def pooled_scores(counts: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the scores of the objects of several images together."""
    return instance_scores({name: sum(one[name] for one in counts) for name in counts[0]})


def _mean(scores: dict[str, float]) -> float:
    seg = scores["seg"]
    return scores["ap_50"] if math.isnan(seg) else (scores["ap_50"] + seg) / 2
