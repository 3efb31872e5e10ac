"""Predict many images: one row each in ``predictions.csv``, whatever becomes of it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cytoloop.errors import ImageError, ManifestError
from cytoloop.inference.cluster import run_on_cluster
from cytoloop.inference.image_task import ImageTask, run_here
from cytoloop.inference.model_source import ModelSource
from cytoloop.inference.postprocess.classes import check_save
from cytoloop.inference.postprocess.settings import TrainingFacts
from cytoloop.inference.predict_image import input_digest
from cytoloop.inference.results.predictions_csv import PredictionsTable, write_model
from cytoloop.inference.settings import Settings
from cytoloop.manifest import Row
from cytoloop.terminal import stderr_console

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Engine:
    """Who does the work.

    Attributes
    ----------
    workers : int
        Processes of this machine; 1: this one.
    scheduler : str or None
        Address of a Dask cluster.
    dask : bool
        A cluster also where `workers` is 1.
    """

    workers: int = 1
    scheduler: str | None = None
    dask: bool = False


def predict_rows(
    rows: Sequence[Row],
    model: ModelSource,
    output: str | Path,
    named: Mapping[str, str | None],
    settings: Settings,
    engine: Engine | None = None,
) -> PredictionsTable:
    """Predict each row, write its images, and keep ``predictions.csv`` up to date.

    A row that fails does not stop the others. Results of before are taken over where model,
    input and settings are the same; a stop leaves the rest pending.

    Parameters
    ----------
    rows : sequence of Row
        With unique ids and names.
    model : Model
    output : str or Path
    named : mapping
        ``model`` (URI) and ``run_id``, as they go into the table.
    settings : Settings
    engine : Engine, optional
        Default: this process.

    Returns
    -------
    Results
    """
    engine = engine or Engine()
    output = Path(output).absolute()
    predictor = model.load()
    check_save(settings.save, TrainingFacts.from_checkpoint(predictor.image))
    digest = settings.digest()
    common = {**named, "model_sha256": predictor.model_sha256, "settings": digest}
    results = PredictionsTable(output, rows, common)
    write_model(output, TrainingFacts.from_checkpoint(predictor.image))
    jobs = []
    for number, row in enumerate(rows):
        content = _digest(row)
        if not (content and results.reuse(number, content)):
            text = f"{predictor.model_sha256} {content} {digest}"
            jobs.append(ImageTask(number, row, hashlib.sha256(text.encode()).hexdigest()[:32]))
    results.write()
    if len(jobs) < len(rows):
        log.info("%d image(s) are done: same model, input and settings", len(rows) - len(jobs))
    try:
        with _bar(len(jobs)) as (advance, finished):
            for number, cells in _run(engine, jobs, model, settings, output, advance):
                results.finish(number, cells)
                finished(number)
    finally:
        results.write()
    return results


def _digest(row: Row) -> str:
    """Return the digest of an input; of one that cannot be read "", and its row will tell why."""
    try:
        return input_digest(row)
    except (ImageError, ManifestError, OSError):
        return ""


def _run(
    engine: Engine,
    jobs: Sequence[ImageTask],
    model: ModelSource,
    settings: Settings,
    output: Path,
    advance: Callable[[int, float], None],
) -> Iterator[tuple[int, dict[str, Any]]]:
    if not jobs:
        return iter(())
    if engine.scheduler is None and engine.workers == 1 and not engine.dask:
        return run_here(jobs, model, settings, output, advance)
    return run_on_cluster(jobs, model, settings, output, advance, engine.workers, engine.scheduler)


@contextmanager
def _bar(
    total: int,
) -> Iterator[tuple[Callable[[int, float], None], Callable[[int], None]]]:
    """Show how many images are done, with the share of those that are under way."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("predicting"),
        BarColumn(),
        TextColumn("{task.completed:.1f}/{task.total}"),
        TimeRemainingColumn(),
    )
    shares: dict[int, float] = {}
    with Progress(
        *columns, console=stderr_console, transient=True, disable=not stderr_console.is_terminal
    ) as progress:
        task = progress.add_task("", total=total)

        def advance(number: int, share: float) -> None:
            shares[number] = share
            progress.update(task, completed=sum(shares.values()))

        yield advance, lambda number: advance(number, 1.0)
