"""Probability maps of one image to mask, labels and objects, or to a class image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cytoloop.inference.postprocess.instance_rule import instance_rule
from cytoloop.inference.postprocess.segment_planes import label_planes, plane_objects
from cytoloop.inference.postprocess.settings import TUNED, PostprocessSettings
from cytoloop.inference.postprocess.skeleton_maps import measure_labels
from cytoloop.inference.postprocess.training_facts import TrainingFacts, class_threshold_key
from cytoloop.instances import segment
from cytoloop.instances.blocks import BLOCK_VOXELS, Blocks, Volume, add_halo, relative_to
from cytoloop.instances.distance_map import full_scale
from cytoloop.instances.grow import grow_labels
from cytoloop.instances.haze import is_bright
from cytoloop.instances.objects import ObjectMeasurements
from cytoloop.instances.segment import NewVolume
from cytoloop.instances.settings import InstanceSettings
from cytoloop.instances.thresholds import choose_threshold, histogram
from cytoloop.io.notes import note
from cytoloop.io.voxel_size import Spacing
from cytoloop.truth.classes import class_heads, class_image


@dataclass(frozen=True)
class Segmentation:
    """What post-processing finds in the maps of one image.

    Attributes
    ----------
    thresholds : tuple of float
        Probability above which a voxel is foreground; for classes one per class.
    volumes : mapping of str to Volume
        ``mask`` ([Z,] Y, X) uint8: 0 or 1, for classes the class of each voxel. ``labels``
        ([Z,] Y, X) unsigned integers: 1..N, 0 = background; not for classes.
    objects : ObjectSums or None
        Sums over the voxels of each object; None for classes.
    """

    thresholds: tuple[float, ...]
    volumes: Mapping[str, Volume]
    objects: ObjectMeasurements | None = None


def segment_maps(
    maps: Mapping[str, Volume],
    spacing_um: Spacing | None,
    settings: PostprocessSettings,
    training: TrainingFacts,
    new_volume: NewVolume,
    with_mask: bool = True,
) -> Segmentation:
    """Return the objects, or the classes, in the maps of one image.

    Of a stack that a 2D model has predicted, the objects are those of each plane; the threshold is
    that of the stack.

    Parameters
    ----------
    maps : mapping of str to Volume
        ([Z,] Y, X) each: ``probability``, and ``distance`` and ``contour`` where the network
        predicts them, ``brightness`` where haze is cut off; or ``class_NAME`` for each class; or
        ``probability`` and ``labels``.
    spacing_um : tuple of float or None
        Voxel size (Z, Y, X) of the image.
    settings : PostprocessSettings
    training : TrainingFacts
    new_volume : callable
        Makes an empty volume, see `cytoloop.instances.segment.NewVolume`.
    with_mask : bool
        False: no mask of foreground; saves time and disk space.
    """
    if training.classes:
        return _segment_classes(maps, settings, training, new_volume)
    by_plane = training.goes_by_plane(maps["probability"].shape)
    if "labels" in maps and not by_plane:
        cut, volumes, measured = measure_labels(maps, settings, training, new_volume)
        return Segmentation((cut,), volumes, measured)
    probability = maps["probability"]
    shape = tuple(probability.shape)
    blocks = Blocks.for_shape(shape, BLOCK_VOXELS)
    resolved = settings.resolve_tuned(training.tuned)
    threshold = choose_threshold(resolved.threshold, histogram(probability, blocks))
    rule = instance_rule(resolved, threshold, spacing_um, training, 2 if by_plane else len(shape))
    _note_no_growth(resolved, rule, spacing_um)
    if settings.haze not in ("tuned", 0) and "brightness" not in maps:
        text = "cuts nothing off, as no map of brightness is stored: predict again"
        note("postprocess.haze", text, once_for_all="postprocess.haze")
    spacing = spacing_um or training.spacing_um
    if by_plane:
        find = plane_objects(maps, rule, spacing)
        labels, objects = label_planes(probability, find, settings.join_planes, new_volume)
    else:
        of_objects = [maps.get(name) for name in ("distance", "contour", "brightness")]
        labels, objects = segment(probability, rule, spacing, new_volume, blocks.size, *of_objects)
    volumes = {"labels": labels}
    if with_mask:
        mask = volumes["mask"] = new_volume("mask", shape, np.uint8, blocks.size)
        cut = threshold * full_scale(probability.dtype)
        halo = [abs(rule.grow_planes), abs(rule.grow), abs(rule.grow)][-len(shape) :]
        for box in blocks:
            window = add_halo(box, halo, shape)
            inside = (np.asarray(probability[window]) > cut).astype(np.uint8)
            grown = grow_labels(inside, rule.grow, rule.grow_planes)
            grown = grown[relative_to(box, window)]
            if rule.haze and "brightness" in maps:
                grown = np.where(is_bright(maps["brightness"], rule.haze, box), grown, 0)
            mask[box] = grown
    return Segmentation((threshold,), volumes, objects)


def _note_no_growth(
    settings: PostprocessSettings, rule: InstanceSettings, spacing_um: Spacing | None
) -> None:
    """Note where objects are to grow by less than a voxel, which does nothing."""
    sides = spacing_um or (1.0, 1.0, 1.0)
    for name, steps, side in (
        ("grow_um", rule.grow, sides[-1]),
        ("grow_z_um", rule.grow_planes, sides[0]),
    ):
        asked = float(getattr(settings, name))
        if asked and not steps:
            key = f"postprocess.{name}"
            text = f"{asked:g} changes nothing: a voxel is {side:g} wide, and a 2D object has no z"
            note(key, text, once_for_all=key)


def _segment_classes(
    maps: Mapping[str, Volume],
    settings: PostprocessSettings,
    training: TrainingFacts,
    new_volume: NewVolume,
) -> Segmentation:
    """Return the class image of the maps, computed block by block."""
    volumes = [maps[head] for head in class_heads(training.classes)]
    shape = tuple(volumes[0].shape)
    blocks = Blocks.for_shape(shape, BLOCK_VOXELS)
    thresholds = []
    for name, volume in zip(training.classes, volumes, strict=True):
        rule = class_threshold(settings, training, name)
        if isinstance(rule, str):  # a method, applied to this image
            rule = choose_threshold(rule, histogram(volume, blocks))
        thresholds.append(rule)
    scale = full_scale(volumes[0].dtype)
    classes = new_volume("mask", shape, np.uint8, blocks.size)
    for box in blocks:
        parts = [np.asarray(volume[box]) for volume in volumes]
        classes[box] = class_image(parts, [threshold * scale for threshold in thresholds])
    return Segmentation(tuple(thresholds), {"mask": classes})


def class_threshold(
    settings: PostprocessSettings, training: TrainingFacts, name: str
) -> float | str:
    """Return the threshold of a class: a probability, or a method of scikit-image."""
    if settings.threshold == "tuned":
        tuned = training.tuned or {}
        return float(tuned.get(class_threshold_key(name), TUNED["threshold"]))
    threshold = settings.threshold
    return threshold if isinstance(threshold, str) else float(threshold)
