"""Images predicted one after the other in this process; each has a row, whatever becomes of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import OutOfMemoryError

from cytoloop.errors import ImageError, ManifestError
from cytoloop.inference.model_source import ModelSource
from cytoloop.inference.predict_image import predict_image
from cytoloop.inference.settings import Settings
from cytoloop.manifest import Row

log = logging.getLogger(__name__)

LESS_MEMORY = "Take fewer workers=, a smaller batch_size=, or a machine with more memory."


@dataclass(frozen=True)
class ImageTask:
    """An image to predict.

    Attributes
    ----------
    number : int
        Of its row in the table.
    row : Row
    key : str
        Digest of model, input and settings.
    """

    number: int
    row: Row
    key: str


def run_here(
    jobs: Sequence[ImageTask],
    model: ModelSource,
    settings: Settings,
    output: Path,
    advance: Callable[[int, float], None],
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the cells of each job, one after the other."""
    for job in jobs:
        yield job.number, predict_job(job, model, settings, output, mover(advance, job.number))


def predict_job(
    job: ImageTask,
    model: ModelSource,
    settings: Settings,
    output: Path,
    advance: Callable[[float], None] = lambda share: None,
) -> dict[str, Any]:
    """Return the cells of an image: of its results, or of the reason why there are none."""
    return cells_or_failure(
        lambda: predict_image(job.row, model.load(), settings, output, job.key, advance)
    )


def cells_or_failure(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the cells of a row: what the work returns, or why it failed; and how long it took.

    What a worker took it says itself.
    """
    started = time.perf_counter()
    try:
        cells: dict[str, Any] = {"status": "done", "reason": "", **work()}
    except (ImageError, ManifestError) as error:  # others would fail every image
        log.warning("%s", error)
        cells = {"status": "failed", "reason": "; ".join(error.problems)}
    except (MemoryError, OutOfMemoryError) as error:
        log.warning("not enough memory: %s", error)
        cells = {"status": "failed", "reason": f"does not fit into the memory. {LESS_MEMORY}"}
    return {"seconds": f"{time.perf_counter() - started:.2f}", **cells}


def mover(advance: Callable[[int, float], None], number: int) -> Callable[[float], None]:
    """Return how one image says how far it is."""
    return lambda share: advance(number, share)
