"""`cytoloop predict`: a model and images in; probability, mask, labels and a table out."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from cytoloop.app import plain

log = logging.getLogger(__name__)


def run(cfg: Any) -> None:
    """Predict every input; an image that fails does not stop the others."""
    from cytoloop.inference.inputs import list_inputs

    rows = list_inputs(cfg.input)
    settings = plain(cfg)
    save = settings["save"] if isinstance(settings["save"], list) else [settings["save"]]
    from cytoloop.inference.predictor import Predictor
    from cytoloop.inference.run import TABLE, check_settings, claim_output, failures, predict_rows
    from cytoloop.model.checkpoint import read_checkpoint
    from cytoloop.tracking.checkpoints import locate_checkpoint

    check_settings(save, settings["postprocess"], settings["batch_size"])
    located = locate_checkpoint(cfg.model_uri)
    checkpoint = read_checkpoint(located.path)
    claim_output(cfg.output, checkpoint.sha256, cfg.overwrite)
    predictor = Predictor(
        checkpoint, cfg.overlap, cfg.batch_size, cfg.accelerator, str(cfg.precision)
    )
    log.info("predicting %d image(s) with %s", len(rows), located.uri)
    table = predict_rows(
        rows,
        predictor,
        cfg.output,
        {"model": located.uri, "run_id": located.run_id, "model_sha256": checkpoint.sha256},
        save,
        settings["postprocess"],
        settings["channel"],
        settings["spacing_um"],
    )
    log.info("wrote %s", Path(cfg.output) / TABLE)
    error = failures(table)
    if error is not None:
        raise error
