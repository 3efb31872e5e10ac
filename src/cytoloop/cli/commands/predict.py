"""`cytoloop predict`: a model and images in; probability, mask, labels and tables out."""

from __future__ import annotations

import logging
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cytoloop.cli.app import config_to_dict
from cytoloop.errors import Faults
from cytoloop.urls import is_remote

if TYPE_CHECKING:
    from cytoloop.inference.settings import PredictionSettings
    from cytoloop.workers.engine import Engine

log = logging.getLogger(__name__)


def run(cfg: Any) -> None:
    """Predict every input; an image that fails does not stop the others."""
    predict_images(cfg)


def predict_images(cfg: Any) -> Path:
    """Predict every input, and return the folder of the results.

    Raises
    ------
    CytoloopError
        A key is wrong; or images have failed, after the others were predicted.
    """
    from cytoloop.inference.inputs.list_inputs import list_inputs
    from cytoloop.inference.model_source import ModelSource
    from cytoloop.inference.predict_rows import predict_rows
    from cytoloop.inference.read_settings import read_settings, series_choices
    from cytoloop.inference.reprocess import reprocess_table
    from cytoloop.tracking.checkpoints import locate_checkpoint
    from cytoloop.training.calibrate import calibrate

    values = config_to_dict(cfg)
    faults = Faults()
    read = faults.attempt(partial(read_settings, values, _key_problems(values)))
    rows, located = [], []
    if values["reprocess"] is None:
        uris = _checkpoints(values["checkpoint"]) if values["checkpoint"] is not None else []
        found = [faults.attempt(partial(locate_checkpoint, uri)) for uri in uris]
        located = [one for one in found if one is not None]
        # images of another machine are fetched only for a prediction that can start
        if values["input"] is not None and not (faults.errors and is_remote(str(cfg.input))):
            choices = partial(series_choices, values)
            rows = faults.attempt(lambda: list_inputs(cfg.input, choices())) or []
    faults.raise_all("cytoloop predict", ("predict", "config"))
    settings, engine = cast("tuple[PredictionSettings, Engine]", read)
    folder = _output_folder(values)
    overwrite = bool(cfg.overwrite)
    if values["reprocess"] is not None:
        table = reprocess_table(cfg.reprocess, folder, settings, overwrite)
    else:
        model = ModelSource(
            tuple(str(one.path) for one in located),
            "; ".join(one.uri for one in located),
            located[0].run_id if len(located) == 1 else None,
        )
        if values["calibrate"] is not None:
            settings = calibrate(str(cfg.calibrate), model, settings)
        log.info("predicting %d image(s) with %s", len(rows), model.uri)
        table = predict_rows(rows, model, folder, settings, engine, overwrite)
    log.info("wrote %s", folder / "predictions.csv")
    error = table.failures()
    if error is not None:
        raise error
    return folder


def _output_folder(values: dict[str, Any]) -> Path:
    """Return the folder of the results: ``output``, or one that is named by the time."""
    from cytoloop.manifest import is_table, table_in

    if values["output"]:
        return Path(values["output"])
    if values["reprocess"] is not None and is_table(table := table_in(values["reprocess"])):
        return Path(table).parent
    return Path(values["paths"]["runs_dir"], "predict", f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}")


def _checkpoints(given: Any) -> list[str]:
    """Return the URIs in ``a``, in the text ``[a,b]``, or in a list."""
    if isinstance(given, list):
        return [str(uri) for uri in given]
    text = str(given)
    if not (text.startswith("[") and text.endswith("]")):
        return [text]
    return [one.strip(" '\"") for one in text[1:-1].split(",") if one.strip()]


def _key_problems(values: dict[str, Any]) -> list[str]:
    """Return the keys that are missing, and those that contradict each other."""
    given = [name for name in ("checkpoint", "input", "calibrate") if values[name] is not None]
    if values["reprocess"] is None:
        missing = [name for name in ("checkpoint", "input") if name not in given]
        return [f"{name}=... is missing" for name in missing]
    return [
        f"{name}=... and reprocess=... exclude each other: stored maps need no {name}"
        for name in ("checkpoint", "input", "calibrate")
        if name in given
    ]
