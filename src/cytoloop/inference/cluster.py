"""Prediction on a Dask cluster: one task per image, many tasks for a large image.

A large image is cut into blocks, and the workers predict them into one Zarr. If a worker is lost,
another one repeats its block. Each worker keeps the model in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cytoloop.errors import ImageError, ManifestError
from cytoloop.inference.finish_image import finish_image
from cytoloop.inference.image_task import ImageTask, cells_or_failure, predict_task
from cytoloop.inference.inputs.open_input import open_input
from cytoloop.inference.model_grid import stated_diameter
from cytoloop.inference.model_source import ModelSource
from cytoloop.inference.postprocess.skeleton_maps import label_skeletons
from cytoloop.inference.results.writers import report_write_errors
from cytoloop.inference.settings import PredictionSettings
from cytoloop.inference.volume_storage import CHUNK, VolumeStorage, is_large
from cytoloop.inference.windows.brightness import with_brightness
from cytoloop.inference.windows.map_names import SKELETONS
from cytoloop.inference.windows.probability_maps import Progress, write_box
from cytoloop.inference.windows.sliding_window import sliding_window_inference
from cytoloop.instances.blocks import Blocks, Box
from cytoloop.intensity.filtered import Measured
from cytoloop.intensity.normalization import IntensityStats
from cytoloop.io.read import read_header
from cytoloop.manifest import stated_axes
from cytoloop.workers.cluster import connect, result_of, submit, submit_all
from cytoloop.workers.engine import Engine

BLOCK = (64, 512, 512)
"""Voxels of a block: whole chunks, so that no two workers write the same chunk."""


def predict_on_cluster(
    tasks: Sequence[ImageTask],
    model: ModelSource,
    settings: PredictionSettings,
    folder: Path,
    engine: Engine,
    progress: Callable[[int, float], None],
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the row number and table cells of each image, in order of completion.

    Parameters
    ----------
    tasks : sequence of ImageTask
    model, settings, folder
        Paths must mean the same on every worker.
    engine : Engine
    progress : callable
        Called with an image's row number and the fraction that is done.

    Raises
    ------
    ConfigError
        There is no scheduler at the address.
    """
    with connect(engine.count, engine.scheduler) as client:
        large = images_in_blocks(tasks, model, settings)
        calls = {t.number: (t, model, settings, folder) for t in tasks if t.number not in large}
        names = {task.number: task.row.id for task in tasks}
        for number, future in submit_all(client, predict_task, calls):
            yield number, cells_or_failure(partial(result_of, future, names[number]))
        for task in (task for task in tasks if task.number in large):
            of_image = partial(progress, task.number)
            work = partial(_predict_in_blocks, client, task, model, settings, folder, of_image)
            yield task.number, cells_or_failure(work)


def images_in_blocks(
    tasks: Sequence[ImageTask], model: ModelSource, settings: PredictionSettings
) -> set[int]:
    """Return the numbers of the images that are predicted block by block, the large ones.

    A model that zooms or resamples its images, or takes them at the scale of their objects,
    predicts each as one task: blocks are of the image itself, not of the zoomed one. So does a
    model whose preparation has functions of the user, which get the whole image, and a 2D model
    that takes a stack plane by plane.
    """
    shapes = {task.number: _shape(task) for task in tasks}
    large = {number for number, shape in shapes.items() if is_large(shape)}
    if not large or settings.reading.resample is True:
        return set()
    predictor = model.load(settings.windows)
    resamples = predictor.image.get("resample") and settings.reading.resample == "auto"
    functions = predictor.preparation is not None and predictor.preparation.functions
    is_scaled = stated_diameter(predictor, settings.reading) is not None
    if predictor.image.get("zoom") or resamples or functions or is_scaled:
        return set()
    return {number for number in large if not predictor.training.goes_by_plane(shapes[number])}


def _shape(task: ImageTask) -> tuple[int, ...]:
    """Return the shape ([Z,] Y, X) of an image from its header; empty if it cannot be read."""
    try:
        row = task.row
        scene, axes = row["scene"] or None, stated_axes(row)
        header = read_header(row.file("raw") or "", scene, axes, row.plane)
    except (ImageError, ManifestError):
        return ()  # the image fails when it is predicted, with the reason
    return header.spatial


def _predict_in_blocks(
    client: Any,
    task: ImageTask,
    model: ModelSource,
    settings: PredictionSettings,
    folder: Path,
    progress: Progress,
) -> dict[str, Any]:
    """Predict a large image block by block on all workers; return its table cells."""
    predictor = model.load(settings.windows)
    pixels = open_input(task.row, predictor, settings.reading)
    name = task.row["name"]
    with report_write_errors(folder):
        storage = VolumeStorage.on_disk(folder, name, task.key)
        maps = {}
        for key in predictor.maps:
            dtype = predictor.map_dtype(settings.output.probability_dtype)
            maps[key] = storage.create(key, pixels.shape, dtype)
            storage.record_progress(key, storage.progress(key))  # keep it after an interruption
        measured = submit(client, _measure_intensity, task, model, settings)
        levels, filtered = result_of(measured, task.row.id)
        if levels is not None:  # an image of one grey level stays 0
            layout = predictor.layout(pixels.shape)
            boxes = list(Blocks(layout.shape, _block_size(layout.shape, layout.before)))
            calls = {
                number: (task, model, settings, folder, (levels, filtered), box)
                for number, box in enumerate(boxes)
                if not storage.progress(f"box {number}")
            }
            done = len(boxes) - len(calls)
            for number, future in submit_all(client, _predict_block, calls):
                result_of(future, task.row.id)
                storage.record_progress(f"box {number}", 1)
                done += 1
                progress(done / len(boxes))
        if predictor.training.output == SKELETONS:
            maps = label_skeletons(maps, settings.postprocess, predictor.training)
        training = predictor.training
        maps = with_brightness(maps, pixels, settings.postprocess, training, storage)
        return finish_image(name, maps, pixels.grid, training, settings, folder, storage)


def _measure_intensity(
    task: ImageTask, model: ModelSource, settings: PredictionSettings
) -> tuple[list[IntensityStats] | None, Measured]:
    """Measure what filters and normalisation need of the whole image, on a worker."""
    predictor = model.load(settings.windows)
    pixels = open_input(task.row, predictor, settings.reading)
    pixels, measured = predictor.filtered_pixels(task.row.id, pixels)
    return predictor.measure_intensity(task.row.id, pixels), measured


def _predict_block(
    task: ImageTask,
    model: ModelSource,
    settings: PredictionSettings,
    folder: Path,
    measured: tuple[list[IntensityStats], Measured],
    box: Box,
) -> None:
    """Predict a block of a large image into its Zarr, on a worker."""
    levels, of_filters = measured
    predictor = model.load(settings.windows)
    pixels = open_input(task.row, predictor, settings.reading)
    pixels, _ = predictor.filtered_pixels(task.row.id, pixels, of_filters)
    layout = predictor.layout(pixels.shape)
    count = len(predictor.maps)
    block = np.zeros((count, *(s.stop - s.start for s in box)), np.float32)
    for where, planes in sliding_window_inference(
        pixels,
        layout,
        partial(predictor.prepare, levels=levels),
        partial(predictor.predict, levels=levels),
        box,
        count,
        predictor.batch_size(layout),
    ):
        block[:, where[0].start - box[0].start : where[0].stop - box[0].start] = planes
    for key, values in zip(predictor.maps, block, strict=True):
        volume = VolumeStorage.open_volume(folder, task.row["name"], key)
        write_box(volume, layout, box, values)  # whole chunks, at once


def _block_size(shape: Sequence[int], before: Sequence[int]) -> tuple[int, ...]:
    """Return the size of blocks: whole chunks; a short, mirrored axis is not cut."""
    sizes = zip(BLOCK[-len(shape) :], CHUNK[-len(shape) :], shape, before, strict=True)
    return tuple(side if mirrored else size - size % chunk for size, chunk, side, mirrored in sizes)
