"""The task of predicting one image, whose failure does not stop other images."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import OutOfMemoryError

from cytoloop.errors import CytoloopError, ImageError, ManifestError
from cytoloop.inference.model_source import ModelSource
from cytoloop.inference.predict_image import predict_image
from cytoloop.inference.settings import PredictionSettings
from cytoloop.inference.windows.probability_maps import Progress, ignore_progress
from cytoloop.io.notes import collect_notes
from cytoloop.manifest import Row

log = logging.getLogger(__name__)

LESS_MEMORY = "Use fewer workers=, a smaller batch_size=, or a machine with more memory."


@dataclass(frozen=True)
class ImageTask:
    """An image to predict.

    Attributes
    ----------
    number : int
        Of its row in predictions.csv, from 0.
    row : Row
    key : str
        Digest of model, input and settings.
    """

    number: int
    row: Row
    key: str


def predict_task(
    task: ImageTask,
    model: ModelSource,
    settings: PredictionSettings,
    folder: Path,
    progress: Progress = ignore_progress,
) -> dict[str, Any]:
    """Predict an image; return the cells of its results, or of the reason of its failure."""
    return cells_or_failure(
        lambda: predict_image(
            task.row, model.load(settings.windows), settings, folder, task.key, progress
        )
    )


def cells_or_failure(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the table cells that the work returns, or the reason of its failure; and its seconds.

    Errors of the output or the model would fail every image, and are raised. An unexpected error
    is one of this image: the others are predicted.
    """
    started = time.perf_counter()
    with collect_notes() as notes:
        cells = _cells_or_failure(work)
    if notes:
        cells["warnings"] = "; ".join([*filter(None, [cells.get("warnings")]), *notes])
    return {"seconds": f"{time.perf_counter() - started:.2f}", **cells}


def _cells_or_failure(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        # cells of a worker already hold a status and the seconds that the worker measured
        return {"status": "done", "reason": "", "warnings": "", **work()}
    except (ImageError, ManifestError) as error:
        log.warning("%s", error)
        return {"status": "failed", "reason": "; ".join(error.problems)}
    except (MemoryError, OutOfMemoryError) as error:
        log.warning("not enough memory: %s", error)
        return {"status": "failed", "reason": f"does not fit into memory. {LESS_MEMORY}"}
    except CytoloopError:
        raise
    except Exception as error:
        log.exception("unexpected error, a bug of CytoLoop")
        return {"status": "failed", "reason": f"unexpected {type(error).__name__}: {error}"}
