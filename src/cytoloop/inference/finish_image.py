"""The last steps of an image: post-process its maps, write the results, fill its table row."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cytoloop.errors import ConfigError
from cytoloop.inference.postprocess.segment_maps import segment_maps
from cytoloop.inference.postprocess.training_facts import TrainingFacts
from cytoloop.inference.results.writers import ChannelStack, choose_format, write_volume
from cytoloop.inference.settings import OUTPUTS, PredictionSettings
from cytoloop.inference.volume_storage import VolumeStorage
from cytoloop.inference.windows.map_names import INTENSITY
from cytoloop.instances.blocks import Volume
from cytoloop.instances.objects import write_table
from cytoloop.io.voxel_size import Grid
from cytoloop.manifest import ALL_PLANES, format_spacing

log = logging.getLogger(__name__)

CLASS_OUTPUTS = ("probability", "mask")
"""Outputs of a model of classes, which does not separate objects."""


def finish_image(
    name: str,
    maps: Mapping[str, Volume],
    grid: Grid,
    training: TrainingFacts,
    settings: PredictionSettings,
    folder: Path,
    storage: VolumeStorage,
) -> dict[str, Any]:
    """Post-process the maps of an image, write its results, and return its table cells.

    Parameters
    ----------
    name : str
        Of the result files.
    maps : mapping of str to Volume
        ([Z,] Y, X) each.
    grid : Grid
        How the image lies in space.
    training : TrainingFacts
    settings : PredictionSettings
        Of them `postprocess` and `output` count.
    folder : Path
        Of the predictions.
    storage : VolumeStorage
        Of the image; removed at the end.
    """
    save = _outputs_of_image(settings, training)
    cells: dict[str, Any] = {"spacing_um": format_spacing(grid.spacing_um)}
    if training.object_diameter is not None:
        cells["object_diameter_um"] = round(training.object_diameter, 4)
    if training.goes_by_plane(next(iter(maps.values())).shape):
        is_joined = settings.postprocess.join_planes is not None and not training.classes
        cells["plane"] = "" if is_joined else ALL_PLANES
    volumes: dict[str, Volume | ChannelStack] = {}
    if training.classes:
        cells["classes"] = " ".join(training.classes)
    if "probability" in save:
        volumes |= _stored_maps(maps, training)
    if set(save) - {"probability"}:
        found = segment_maps(
            maps, grid.spacing_um, settings.postprocess, training, storage.create, "mask" in save
        )
        volumes |= {kind: volume for kind, volume in found.volumes.items() if kind in save}
        if found.objects is None:
            cells["threshold"] = " ".join(f"{threshold:.4g}" for threshold in found.thresholds)
        else:
            cells["threshold"] = round(found.thresholds[0], 4)
            cells["objects"] = len(found.objects.voxels) - 1
            if "objects" in save:
                cells["objects_table"] = f"objects/{name}.csv"
                table = found.objects.table(grid.spacing_um)
                write_table(folder / cells["objects_table"], table)
    file_format = choose_format(name, settings.output.format, storage.folder is not None, grid)
    for kind, volume in volumes.items():
        channels = training.classes if kind == "probability" else ()
        cells[kind] = write_volume(folder, kind, name, volume, grid, file_format, channels)
    storage.remove()
    return cells


def _stored_maps(
    maps: Mapping[str, Volume], training: TrainingFacts
) -> Mapping[str, Volume | ChannelStack]:
    """Return the maps to write, by the name of their folder."""
    if training.classes:
        return {"probability": ChannelStack(list(maps.values()))}
    return {name: volume for name, volume in maps.items() if name != "labels"}


def check_outputs(save: Sequence[str], training: TrainingFacts) -> None:
    """Refuse outputs that the model does not have, if nothing else is asked for.

    Raises
    ------
    ConfigError
        Nothing would be written.
    """
    possible = _possible_outputs(training)
    left_out = [kind for kind in save if kind not in possible]
    if not left_out:
        return
    if training.output == INTENSITY:
        predicts, repair = "an image", "`probability`, which stands for that image"
    else:
        predicts = f"classes ({', '.join(training.classes)})"
        repair = f"{' or '.join(possible)}; `mask` holds the classes 1 to {len(training.classes)}"
    if len(left_out) == len(save):
        raise ConfigError(
            "save",
            f"{', '.join(left_out)}: the model predicts {predicts}, not objects",
            f"Expected {repair}.",
        )
    log.info("the model predicts %s: no %s", predicts, " and no ".join(left_out))


def check_planes(settings: PredictionSettings, training: TrainingFacts) -> None:
    """Refuse settings of planes for a model that was trained on stacks.

    Raises
    ------
    ConfigError
        All of them.
    """
    join = settings.postprocess.join_planes
    problems = ["planes=true"] * (settings.reading.planes is True)
    problems += [] if join is None else [f"join_planes={join:g}"]
    if problems and training.spatial_dims == 3:
        raise ConfigError(
            "predict",
            [f"{key}: the model was trained on stacks and predicts 3D objects" for key in problems],
            "Leave it out, or give a model trained on 2D images.",
        )


def _outputs_of_image(settings: PredictionSettings, training: TrainingFacts) -> list[str]:
    """Return the outputs to write: those of `save` that the model and `postprocess` allow."""
    possible = _possible_outputs(training)
    return [
        kind
        for kind in settings.output.save
        if (kind == "probability" or settings.postprocess.instances) and kind in possible
    ]


def _possible_outputs(training: TrainingFacts) -> tuple[str, ...]:
    if training.output == INTENSITY:
        return ("probability",)
    return CLASS_OUTPUTS if training.classes else OUTPUTS
