"""Maps of CytoDL's ``instance_seg`` models to objects."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cytoloop.errors import ModelError
from cytoloop.inference.postprocess.settings import PostprocessSettings
from cytoloop.inference.postprocess.training_facts import TrainingFacts
from cytoloop.instances.blocks import BLOCK_VOXELS, Blocks, Volume, plane_of
from cytoloop.instances.distance_map import full_scale
from cytoloop.instances.objects import ObjectMeasurements
from cytoloop.instances.segment import NewVolume
from cytoloop.instances.skeletons import SkeletonRule, label_by_skeletons
from cytoloop.instances.thresholds import choose_threshold, histogram


def label_skeleton_maps(
    maps: Mapping[str, Volume], settings: PostprocessSettings, training: TrainingFacts
) -> dict[str, Volume]:
    """Return the probability and the objects of an image, on the grid of the maps.

    The maps are held in memory.

    Parameters
    ----------
    maps : mapping of str to Volume
        ([Z,] Y, X) each: ``probability``, ``skeleton``, ``offset_z`` (3D), ``offset_y``,
        ``offset_x``.
    settings : PostprocessSettings
        Only its threshold counts; the rest of the rule comes with the model.
    training : TrainingFacts

    Returns
    -------
    dict of str to Volume
        ``probability``, and ``labels`` int32: 1..N, 0 = background.

    Raises
    ------
    ModelError
        The rule in the checkpoint is no `SkeletonRule`.
    """
    try:
        rule = SkeletonRule(**{name: float(n) for name, n in training.skeleton_rule.items()})
    except (TypeError, ValueError) as error:
        found = f"its skeleton_rule is {dict(training.skeleton_rule)!r}"[:200]
        raise ModelError("model", found, "The file is damaged; use another.") from error
    probability = maps["probability"]
    foreground = np.asarray(probability[...]) > _threshold(probability, settings, training)
    offsets = [np.asarray(maps[name][...]) for name in maps if name.startswith("offset_")]
    labels = label_by_skeletons(
        foreground,
        np.asarray(maps["skeleton"][...]),
        np.stack(offsets),
        rule,
    )
    return {"probability": probability, "labels": labels}


def label_skeletons(
    maps: Mapping[str, Volume], settings: PostprocessSettings, training: TrainingFacts
) -> dict[str, Volume]:
    """Return the probability and the objects of an image; of a stack of planes, plane by plane.

    Objects of different planes have different numbers. See `label_skeleton_maps`.
    """
    probability = maps["probability"]
    if not training.goes_by_plane(probability.shape):
        return label_skeleton_maps(maps, settings, training)
    labels, count = np.zeros(probability.shape, np.int32), 0
    for number in range(len(labels)):
        plane = {name: plane_of(volume, number) for name, volume in maps.items()}
        found = np.asarray(label_skeleton_maps(plane, settings, training)["labels"])
        labels[number] = np.where(found > 0, found + count, 0)
        count = max(count, int(labels[number].max(initial=0)))
    return {"probability": probability, "labels": labels}


def measure_labels(
    maps: Mapping[str, Volume],
    settings: PostprocessSettings,
    training: TrainingFacts,
    new_volume: NewVolume,
) -> tuple[float, dict[str, Volume], ObjectMeasurements]:
    """Return threshold, mask and labels, and measurements of labels on the grid of the image.

    Parameters
    ----------
    maps : mapping of str to Volume
        ``probability`` and ``labels``, ([Z,] Y, X) each.
    settings : PostprocessSettings
    training : TrainingFacts
    new_volume : callable
        Makes an empty volume, see `cytoloop.instances.segment.NewVolume`.
    """
    probability, labels = maps["probability"], maps["labels"]
    shape = tuple(labels.shape)
    blocks = Blocks.for_shape(shape, BLOCK_VOXELS)
    count = max(int(np.asarray(labels[box]).max(initial=0)) for box in blocks)
    objects = ObjectMeasurements(count, shape)
    mask = new_volume("mask", shape, np.uint8, blocks.size)
    scale = full_scale(probability.dtype)
    for box in blocks:
        part = np.asarray(labels[box])
        objects.add(part, np.asarray(probability[box], np.float32) / scale, box)
        mask[box] = (part > 0).astype(np.uint8)
    threshold = _threshold(probability, settings, training) / scale
    return threshold, {"mask": mask, "labels": labels}, objects


def _threshold(
    probability: Volume, settings: PostprocessSettings, training: TrainingFacts
) -> float:
    """Return the threshold in the units of the map."""
    resolved = settings.resolve_tuned(training.tuned)
    blocks = Blocks.for_shape(tuple(probability.shape), BLOCK_VOXELS)
    chosen = choose_threshold(resolved.threshold, histogram(probability, blocks))
    return chosen * full_scale(probability.dtype)
