"""The prediction of one image: from its row to its result files and table cells."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

from cytoloop.inference.finish_image import finish_image
from cytoloop.inference.inputs.open_input import open_input
from cytoloop.inference.model_grid import on_grid_of_model
from cytoloop.inference.postprocess.skeleton_maps import label_skeletons
from cytoloop.inference.results.writers import report_write_errors
from cytoloop.inference.settings import PredictionSettings
from cytoloop.inference.stopwatch import OBJECTS, READING, measure, slow_part, stopwatch
from cytoloop.inference.volume_storage import VolumeStorage
from cytoloop.inference.windows.brightness import with_brightness
from cytoloop.inference.windows.map_names import SKELETONS
from cytoloop.inference.windows.plane_maps import predict_image_maps
from cytoloop.inference.windows.predictor import Predictor
from cytoloop.inference.windows.probability_maps import (
    Progress,
    ignore_progress,
    resample_to_image,
)
from cytoloop.manifest import Row

log = logging.getLogger(__name__)


def predict_image(
    row: Row,
    predictor: Predictor,
    settings: PredictionSettings,
    folder: Path,
    key: str,
    progress: Progress = ignore_progress,
) -> dict[str, Any]:
    """Predict one image, write its results, and return its cells of predictions.csv.

    Image -> reading -> windows -> maps -> objects -> files -> row.

    Parameters
    ----------
    row : Row
        With a unique ``name``.
    predictor : Predictor
    settings : PredictionSettings
    folder : Path
        Of the predictions.
    key : str
        Digest of model, input and settings: volumes of an interrupted run with the same key are
        continued.
    progress : callable

    Raises
    ------
    ImageError
        This image cannot be predicted; others may.
    OutputError
        No results can be written.
    """
    with stopwatch() as seconds:
        with measure(READING):
            pixels = open_input(row, predictor, settings.reading)
            resampled, training = on_grid_of_model(row.id, pixels, predictor, settings.reading)
        largest = max(pixels.shape, resampled.shape, key=math.prod)
        with report_write_errors(folder):
            storage = VolumeStorage.for_image(folder, row["name"], largest, key)
            dtype = settings.output.probability_dtype
            with measure(READING):  # what the network waits for
                maps = predict_image_maps(row.id, resampled, predictor, storage, dtype, progress)
            with measure(OBJECTS):
                if training.output == SKELETONS:
                    maps = label_skeletons(maps, settings.postprocess, training)
                post = settings.postprocess
                maps = with_brightness(maps, resampled, post, predictor.training, storage)
                maps = resample_to_image(maps, pixels.shape, storage)
                cells = finish_image(
                    row["name"], maps, pixels.grid, training, settings, folder, storage
                )
    if (found := slow_part(seconds)) is not None:
        log.warning("%s: %s", row.id, found)
    return cells
