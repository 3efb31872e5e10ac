"""Classes of an image: their thresholds, the class image, and their maps as channels of one."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cytoloop.errors import ConfigError
from cytoloop.inference.postprocess.settings import TrainingFacts, class_threshold
from cytoloop.inference.results.writers import ChannelStack, choose_format, write_volume
from cytoloop.inference.settings import Settings
from cytoloop.inference.volume_storage import VolumeStorage
from cytoloop.inference.windows.probability_maps import ProbabilityMaps
from cytoloop.instances.blocks import Blocks, Volume
from cytoloop.instances.heights import full_scale
from cytoloop.instances.segment import BLOCK_VOXELS
from cytoloop.instances.thresholds import choose_threshold, histogram
from cytoloop.io.voxel_size import Grid
from cytoloop.manifest import Row, format_spacing
from cytoloop.truth.classes import class_heads, class_image

log = logging.getLogger(__name__)

OUTPUTS = ("probability", "mask")
"""What a model of classes makes; it tells no object from another."""


def check_save(save: Sequence[str], trained: TrainingFacts) -> None:
    """Refuse to predict what a model of classes does not tell.

    Raises
    ------
    ConfigError
        Nothing that is asked for would be written.
    """
    left_out = [kind for kind in save if kind not in OUTPUTS]
    if not trained.classes or not left_out:
        return
    if len(left_out) == len(save):
        raise ConfigError(
            "save",
            f"{', '.join(left_out)}: the model tells classes ({', '.join(trained.classes)}), not "
            "objects",
            f"Expected {' or '.join(OUTPUTS)}; `mask` holds the classes 1 to "
            f"{len(trained.classes)}.",
        )
    log.info("the model tells classes, not objects: no %s", " and no ".join(left_out))


def thresholds_of(
    settings: Mapping[str, Any], trained: TrainingFacts, maps: ProbabilityMaps
) -> list[float]:
    """Return the threshold of each class in an image.

    Parameters
    ----------
    settings : mapping
        Of `postprocess`, ``tuned`` not yet replaced.
    trained : Trained
    maps : dict of str to Volume
        Of the heads of its classes.
    """
    found = []
    for name, head in zip(trained.classes, class_heads(trained.classes), strict=True):
        rule = class_threshold(settings, trained, name)
        if isinstance(rule, str):  # from this image
            blocks = Blocks.of(maps[head].shape, BLOCK_VOXELS)
            rule = choose_threshold(rule, histogram(maps[head], blocks))
        found.append(rule)
    return found


def class_volume(
    maps: ProbabilityMaps, thresholds: Sequence[float], scratch: VolumeStorage
) -> Volume:
    """Return the class image of maps, ([Z,] Y, X) uint8, made block by block."""
    volumes = list(maps.values())
    shape = tuple(volumes[0].shape)
    blocks = Blocks.of(shape, BLOCK_VOXELS)
    scale = full_scale(volumes[0].dtype)
    classes = scratch.new("mask", shape, np.uint8, blocks.size)
    for box in blocks:
        parts = [np.asarray(one[box]) for one in volumes]
        classes[box] = class_image(parts, [cut * scale for cut in thresholds])
    return classes


def finish_classes(
    row: Row,
    maps: ProbabilityMaps,
    grid: Grid,
    trained: TrainingFacts,
    settings: Settings,
    output: Path,
    scratch: VolumeStorage,
) -> dict[str, Any]:
    """Turn the maps of classes into one with channels and a class image; write what is wanted.

    Returns
    -------
    dict
        Cells of the table.
    """
    cells: dict[str, Any] = {
        "spacing_um": format_spacing(grid.spacing_um),
        "classes": " ".join(trained.classes),
    }
    named = row["name"]
    form = choose_format(named, settings.format, scratch, grid)
    if "probability" in settings.save:
        cells["probability"] = write_volume(
            *(output, "probability", named, ChannelStack(list(maps.values())), grid, form),
            channels=trained.classes,
        )
    if "mask" in settings.save and settings.postprocess["instances"]:
        thresholds = thresholds_of(settings.postprocess, trained, maps)
        cells["threshold"] = " ".join(f"{one:.4g}" for one in thresholds)
        classes = class_volume(maps, thresholds, scratch)
        cells["mask"] = write_volume(output, "mask", named, classes, grid, form)
    scratch.remove()
    return cells
