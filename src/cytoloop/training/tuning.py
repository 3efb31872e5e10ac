"""Post-processing chosen on validation images: what `postprocess=tuned` stands for."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol, TypeVar

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
from cytoloop.truth.classes import class_heads, class_image
from cytoloop.truth.regions import instance_labels

log = logging.getLogger(__name__)
T = TypeVar("T")

MOST_IMAGES = 16
"""So many for validation and so many of training are worth their time, see `evenly`."""
MOST_VOXELS = 2**25
"""Of training images together; others are left out: on a CPU a million may take a second."""
ENOUGH_OBJECTS = 500
"""Of validation images: 800 chose better alone than with training images, 144 worse (measured)."""
_FLAT = 0.001
"""Thresholds whose Dice is this close to the best are as good: the middle one is taken."""
_CAUTION = 0.003
"""So much Dice is given for a threshold nearer to 0.5, where the best one is below: noise and blur
of another microscope raise probabilities around objects, which a low one lets in (measured)."""


class Example(Protocol):
    """An image with its truth, as `cytoloop.data.cached_image.CachedImage`."""

    @property
    def id(self) -> str:
        """Its name."""

    @property
    def image(self) -> np.ndarray:
        """(C, [Z,] Y, X), grey levels."""

    @property
    def labels(self) -> np.ndarray:
        """([Z,] Y, X), 0 = background."""

    @property
    def valid(self) -> np.ndarray:
        """([Z,] Y, X), False = excluded."""

    @property
    def spacing_um(self) -> tuple[float, float, float] | None:
        """(Z, Y, X)."""


def tune(
    checkpoint: str | Path,
    examples: Sequence[Example],
    settings: PostprocessSettings,
    trained_on: Sequence[Example] = (),
) -> dict:
    """Choose threshold and watershed on images with truth, and keep them in the checkpoint.

    Of classes the threshold of each.

    The threshold is that of the best Dice over all voxels that count. The watershed is that of the
    best mean of AP at IoU .5 and SEG over all objects; where no image has two objects it is left.
    Where validation images show fewer than `ENOUGH_OBJECTS` they are too few for that choice:
    training images count as well. A network that knows those by heart has the same scores on them
    under most settings, so that the validation images decide then.

    Parameters
    ----------
    checkpoint : str or Path
        Changed in place, atomically.
    examples : sequence of Example
        Validation images.
    settings : PostprocessSettings
        For what is not chosen.
    trained_on : sequence of Example
        Training images.

    Returns
    -------
    dict of str to float
        ``threshold``, ``seed_smoothing``, ``min_depth``, and what they reach on the validation
        images: ``dice``, ``ap_50``, ``seg``. Of classes ``threshold_NAME``, ``dice_NAME`` and
        their mean ``dice``.
    """
    predictor = Predictor([read_checkpoint(checkpoint)])
    trained = predictor.training
    found = _maps(examples, predictor)
    told = f"{len(examples)} validation"
    if trained.classes:
        return _keep(checkpoint, _best_classes(found, examples, trained.classes), told)
    maps = [np.asarray(one["probability"]) for one in found]
    threshold, dice = best_threshold(maps, examples)
    chosen = {"threshold": threshold, "dice": dice}
    shown = [_objects(one) for one in examples]
    more = _more(sum(shown), trained_on)
    if max([*shown, *(_objects(one) for one in more)], default=0) > 1:
        found += _maps(more, predictor)
        counted = [*examples, *more]
        chosen |= _best_watershed(found, counted, settings, trained, threshold, len(examples))
        told += f" and {len(more)} training" if more else ""
    return _keep(checkpoint, chosen, told)


def evenly(rows: Sequence[T]) -> list[T]:
    """Return `MOST_IMAGES` of a list at most, evenly from all of it."""
    count = min(len(rows), MOST_IMAGES)
    return [rows[number * len(rows) // count] for number in range(count)]


def _more(objects: int, trained_on: Sequence[Example]) -> list[Example]:
    """Return the training images that count as well where validation images show so many objects.

    None where these are enough, else those that fit into `MOST_VOXELS`, one after the other.
    """
    found, room = [], MOST_VOXELS if objects < ENOUGH_OBJECTS else 0
    for one in trained_on:
        if one.labels.size <= room:
            found.append(one)
            room -= one.labels.size
    return found


def _objects(one: Example) -> int:
    return int(np.count_nonzero(np.unique(_true_objects(one))))


def _true_objects(one: Example) -> np.ndarray:
    return instance_labels(np.asarray(one.labels), valid=np.asarray(one.valid))


def _maps(examples: Sequence[Example], predictor: Predictor) -> list[ProbabilityMaps]:
    found = []
    for one in examples:
        pixels = MemoryPixels(one.image, one.spacing_um, [str(c) for c in range(len(one.image))])
        found.append(predict_maps(one.id, pixels, predictor, VolumeStorage()))
    return found


def _keep(checkpoint: str | Path, found: dict[str, float], images: str) -> dict[str, float]:
    """Write what was chosen into the checkpoint; return it as it stands there."""
    chosen = {name: round(float(value), 4) for name, value in found.items()}
    write_tuned(checkpoint, chosen)
    listed = ", ".join(f"{name} {value:g}" for name, value in chosen.items())
    log.info("post-processing chosen on %s image(s): %s", images, listed)
    return chosen


def _best_classes(
    found: Sequence[ProbabilityMaps], examples: Sequence[Example], names: Sequence[str]
) -> dict[str, float]:
    """Return the threshold of each class, and the Dice of each once all of them decide.

    A class that no image shows keeps the threshold of a model that is not tuned.
    """
    chosen = {}
    for value, (name, head) in enumerate(zip(names, class_heads(names), strict=True), 1):
        shown = any((np.asarray(one.labels) == value)[np.asarray(one.valid)].any()
                    for one in examples)  # fmt: skip
        maps = [np.asarray(one[head]) for one in found]
        best = best_threshold(maps, examples, value)[0] if shown else TUNED["threshold"]
        chosen[class_threshold_key(name)] = best
    cuts = [chosen[class_threshold_key(name)] * (BINS - 1) for name in names]
    counts = np.zeros((len(names), 3), np.int64)
    for maps_of_one, one in zip(found, examples, strict=True):
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
    maps: Sequence[np.ndarray], examples: Sequence[Example], value: int | None = None
) -> tuple[float, float]:
    """Return the probability of the best Dice over all voxels that count, and its Dice.

    A best one below 0.5 is raised towards it while hardly any Dice is lost.

    Parameters
    ----------
    maps : sequence of ndarray of uint8
        ([Z,] Y, X), 0..255.
    examples : sequence of Example
    value : int, optional
        The class that is looked for; default whatever is above 0.

    Returns
    -------
    threshold : float
        Probability, 0.1 to 0.9: a voxel above it is foreground.
    dice : float
        0 to 1, of that threshold.
    """
    inside, outside = np.zeros(BINS, np.int64), np.zeros(BINS, np.int64)
    for levels, one in zip(maps, examples, strict=True):
        labels = np.asarray(one.labels)
        true = labels > 0 if value is None else labels == value
        valid = np.asarray(one.valid)
        inside += np.bincount(levels[true & valid], minlength=BINS)
        outside += np.bincount(levels[~true & valid], minlength=BINS)
    # voxels above each level
    hits = inside.sum() - inside.cumsum()
    false = outside.sum() - outside.cumsum()
    total = hits + false + inside.sum()
    dice = np.where(total > 0, 2 * hits / np.maximum(total, 1), 1.0)[:-1]
    good = np.flatnonzero(dice >= dice.max() - _FLAT)
    level = float(np.clip(np.median(good), 0.1 * (BINS - 1), 0.9 * (BINS - 1)))
    higher = np.flatnonzero(dice[: BINS // 2] >= dice.max() - _CAUTION)
    level = float(max([level, *higher[-1:]]))
    return (level + 0.5) / (BINS - 1), float(dice[int(level)])


def _best_watershed(
    found: Sequence[ProbabilityMaps],
    examples: Sequence[Example],
    settings: PostprocessSettings,
    trained: TrainingFacts,
    threshold: float,
    scored: int,
) -> dict[str, float]:
    """Return the best seed_smoothing and min_depth, and their scores on the first images."""
    counts: dict[tuple[float, float], list[dict[str, float]]] = {
        pair: [] for pair in itertools.product(SEED_SMOOTHING, MIN_DEPTH)
    }
    plain = settings.resolve_tuned(trained.tuned)
    for maps, one in zip(found, examples, strict=True):
        levels = np.asarray(maps["probability"])
        known = one.spacing_um or trained.spacing_um
        rule = instance_rule(plain, threshold, one.spacing_um, trained, levels.ndim)
        truth, valid = _true_objects(one), np.asarray(one.valid)
        for smoothing in SEED_SMOOTHING:
            rule = replace(rule, seed_smoothing=smoothing)
            land = WatershedHierarchy(
                levels, rule, known, distance=maps.get("distance"), contour=maps.get("contour")
            )
            for fall in MIN_DEPTH:
                labels, _ = land.objects(replace(rule, min_depth=fall))
                matching = match_instances(truth, np.asarray(labels), valid)
                counts[smoothing, fall].append(instance_counts(matching))
    steady = _steady({pair: _mean(_pooled(each)) for pair, each in counts.items()})
    best = max(steady, key=lambda pair: (round(steady[pair], 6), -_strangeness(pair)))
    scores = _pooled(counts[best][:scored])
    reached = {name: scores[name] for name in ("ap_50", "seg") if not math.isnan(scores[name])}
    return {"seed_smoothing": best[0], "min_depth": best[1], **reached}


def _steady(values: dict[tuple[float, float], float]) -> dict[tuple[float, float], float]:
    """Return the mean of each setting and its neighbours: a lone peak of few objects is chance."""
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


def _strangeness(pair: tuple[float, float]) -> float:
    """Return how far a setting is from that of a model that is not tuned."""
    usual = (TUNED["seed_smoothing"], TUNED["min_depth"])
    return sum(abs(math.log(one / other)) for one, other in zip(pair, usual, strict=True))


def _pooled(counts: Sequence[dict[str, float]]) -> dict[str, float]:
    return instance_scores({name: sum(one[name] for one in counts) for name in counts[0]})


def _mean(scores: dict[str, float]) -> float:
    seg = scores["seg"]
    return scores["ap_50"] if math.isnan(seg) else (scores["ap_50"] + seg) / 2
