"""`cytoloop classic`: images and a workflow in; labels, predictions.csv and sheets out."""

from __future__ import annotations

import logging
import shlex
from pathlib import Path
from typing import Any

from cytoloop.cli.app import config_to_dict
from cytoloop.errors import ImageError, OutputError

log = logging.getLogger(__name__)


def run(cfg: Any) -> None:
    """Segment every image, and log the commands that go on from there."""
    from cytoloop.manifest import is_table, table_in

    cfg.input = str(table_in(cfg.input))
    folder = segment_images(cfg)
    if cfg.sweep:
        log.info("next: type the values that you like behind workflow.steps.")
        return
    if is_table(cfg.input):
        return
    words = shlex.join([f"raw={cfg.input}", f"seg1={folder / 'labels'}"])
    log.info("next: cytoloop curate %s output=dataset/ report=true", words)


def segment_images(cfg: Any) -> Path:
    """Segment images by a workflow, or draw a sweep; return the folder of the results.

    Raises
    ------
    CytoloopError
        A key is wrong; or images have failed, after the others were segmented.
    """
    from cytoloop.classic.images import Reading, segment_rows, write_steps, write_sweep
    from cytoloop.classic.sweep import sweep_grid
    from cytoloop.classic.workflow import Workflow
    from cytoloop.inference.inputs.list_inputs import list_inputs
    from cytoloop.manifest import series_cells
    from cytoloop.manifest.own_folder import STEPS_SHEET, SWEEP_SHEET

    values = config_to_dict(cfg)
    workflow = Workflow.from_config(values["workflow"])
    grid = sweep_grid(values["workflow"], values["sweep"])
    reading = Reading.from_config(values)
    choices = {name: values[name] for name in ("scene", "time", "axes")}
    rows = list_inputs(cfg.input, series_cells("cytoloop classic", choices))
    folder = Path(str(cfg.output))
    _check_folder(folder, bool(cfg.overwrite))
    folder.mkdir(parents=True, exist_ok=True)
    shown = rows[len(rows) // 2]
    if grid:
        write_sweep(shown, grid, folder / SWEEP_SHEET, reading)
        log.info("wrote %s, of %s", folder / SWEEP_SHEET, shown.id)
        return folder
    if cfg.preview:
        write_steps(shown, workflow, folder / STEPS_SHEET, reading)
        log.info("wrote %s, of %s", folder / STEPS_SHEET, shown.id)
    table, failures = segment_rows(rows, workflow, folder, reading)
    log.info("wrote %s", table)
    if failures:
        raise ImageError(str(table), failures, "The other images are segmented.")
    return folder


def _check_folder(folder: Path, overwrite: bool) -> None:
    """Refuse a folder with results, unless they are to be replaced."""
    if (folder / "predictions.csv").exists() and not overwrite:
        raise OutputError(
            str(folder),
            "holds results already",
            "Choose another output=, or replace them with overwrite=true.",
        )
