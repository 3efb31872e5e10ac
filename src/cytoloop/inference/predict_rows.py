"""The prediction of many images: one row each in predictions.csv, done or failed."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from cytoloop.inference.cluster import predict_on_cluster
from cytoloop.inference.finish_image import check_outputs, check_planes
from cytoloop.inference.image_task import ImageTask, predict_task
from cytoloop.inference.inputs.open_input import input_digest
from cytoloop.inference.model_grid import facts_of_model
from cytoloop.inference.model_source import ModelSource
from cytoloop.inference.results.predictions_csv import PredictionsTable
from cytoloop.inference.results.writers import report_write_errors
from cytoloop.inference.settings import PredictionSettings
from cytoloop.manifest import Row
from cytoloop.terminal import can_show_progress, stderr_console
from cytoloop.workers.engine import Engine

log = logging.getLogger(__name__)


def predict_rows(
    rows: Sequence[Row],
    model: ModelSource,
    folder: str | Path,
    settings: PredictionSettings,
    engine: Engine | None = None,
    overwrite: bool = False,
) -> PredictionsTable:
    """Predict each row, write its results, and keep ``predictions.csv`` up to date.

    A row that fails does not stop the others. Rows with the same model, input and settings as in
    an earlier run keep their results. After an interruption the other rows are pending.

    Parameters
    ----------
    rows : sequence of Row
        With unique ids and names.
    model : ModelSource
    folder : str or Path
        Of the results.
    settings : PredictionSettings
    engine : Engine, optional
        Default: this process.
    overwrite : bool
        Predict every row anew, and remove the results that the folder holds.
    """
    engine = engine or Engine()
    folder = Path(folder).absolute()
    predictor = model.load(settings.windows)
    check_outputs(settings.output.save, predictor.training)
    check_planes(settings, predictor.training)
    digest = settings.digest()
    table = PredictionsTable(
        folder,
        rows,
        {
            "model": model.uri,
            "run_id": model.run_id,
            "model_sha256": predictor.model_sha256,
            "settings": digest,
        },
    )
    with report_write_errors(folder):
        facts = facts_of_model(predictor, settings.reading)
        if settings.calibrated:  # post-processing the maps again starts from these
            facts = replace(facts, tuned={**(facts.tuned or {}), **settings.calibrated})
        facts.write(folder)
    tasks = []
    for number, row in enumerate(rows):
        content = input_digest(row)
        table.set_input(number, content)
        if not overwrite and table.is_up_to_date(number):
            table.keep_earlier(number)
            continue
        text = f"{predictor.model_sha256} {content} {digest}"
        tasks.append(ImageTask(number, row, hashlib.sha256(text.encode()).hexdigest()[:32]))
    table.write()
    if overwrite:
        table.remove_earlier_files()
    if len(tasks) < len(rows):
        log.info("%d image(s) are done: same model, input and settings", len(rows) - len(tasks))
    try:
        with _progress_bar(len(tasks)) as progress:
            for number, cells in _run(tasks, model, settings, folder, engine, progress):
                table.finish(number, rows[number]["name"], cells, settings)
                progress(number, 1.0)
    finally:
        table.write()
    return table


def _run(
    tasks: Sequence[ImageTask],
    model: ModelSource,
    settings: PredictionSettings,
    folder: Path,
    engine: Engine,
    progress: Callable[[int, float], None],
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the row number and cells of each task when it has finished."""
    if tasks and not engine.is_this_process:
        yield from predict_on_cluster(tasks, model, settings, folder, engine, progress)
        return
    for task in tasks:
        of_image = partial(progress, task.number)
        yield task.number, predict_task(task, model, settings, folder, of_image)


@contextmanager
def _progress_bar(total: int) -> Iterator[Callable[[int, float], None]]:
    """Show the number of finished images; yield a function for an image's number and fraction."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.1f}/{task.total}"),
        TimeRemainingColumn(),
    )
    fractions: dict[int, float] = {}
    with Progress(
        *columns, console=stderr_console, transient=True, disable=not can_show_progress()
    ) as progress:
        task = progress.add_task("predicting", total=total)

        def advance(number: int, fraction: float, text: str = "") -> None:
            fractions[number] = fraction
            shown = f"predicting, {text}" if text else "predicting"
            progress.update(task, completed=sum(fractions.values()), description=shown)

        yield advance
