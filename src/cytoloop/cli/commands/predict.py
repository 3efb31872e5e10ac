"""`cytoloop predict`: a model and images in; probability, mask, labels and tables out."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from cytoloop.cli.app import config_to_dict
from cytoloop.errors import ConfigError

log = logging.getLogger(__name__)


def run(cfg: Any) -> None:
    """Predict every input; an image that fails does not stop the others."""
    from cytoloop.inference.inputs import list_inputs
    from cytoloop.inference.predict_images import Engine, predict_rows
    from cytoloop.inference.settings import check_settings, settings_of

    values = config_to_dict(cfg)
    _check_given(values)
    settings = settings_of(values)
    check_settings(settings, values["engine"], values["workers"])
    output = Path(values["output"] or Path(cfg.reprocess).parent)
    if values["reprocess"] is not None:
        from cytoloop.inference.reprocess import segment_again

        results = segment_again(cfg.reprocess, output, settings)
    else:
        from cytoloop.inference.load import Model
        from cytoloop.tracking.checkpoints import locate_checkpoint

        rows = list_inputs(cfg.input)
        located = [locate_checkpoint(uri) for uri in _models(str(cfg.checkpoint))]
        model = Model(
            tuple(str(one.path) for one in located),
            *(settings.overlap, settings.tta, cfg.accelerator, settings.precision, settings.window),
        )
        named = {
            "model": "; ".join(one.uri for one in located),
            "run_id": located[0].run_id if len(located) == 1 else None,
        }
        log.info("predicting %d image(s) with %s", len(rows), named["model"])
        engine = Engine(values["workers"], values["scheduler"], values["engine"] == "dask")
        results = predict_rows(rows, model, output, named, settings, engine)
    log.info("wrote %s", output / "predictions.csv")
    error = results.failures()
    if error is not None:
        raise error


def _models(text: str) -> list[str]:
    """Return the URIs of ``a`` or ``[a,b]``."""
    if not (text.startswith("[") and text.endswith("]")):
        return [text]
    return [one.strip(" '\"") for one in text[1:-1].split(",") if one.strip()]


def _check_given(values: dict[str, Any]) -> None:
    """Refuse a call that lacks a key, or has two that contradict each other."""
    again = values["reprocess"] is not None
    missing = [name for name in ("checkpoint", "input", "output") if values[name] is None]
    problems = [f"{name}=... is missing" for name in missing if not again]
    if values["scheduler"] is not None and values["engine"] != "dask":
        problems.append(f"scheduler={values['scheduler']} needs engine=dask")
    if again:
        problems += [
            f"{name}=... and reprocess=... exclude each other: stored probabilities need no {name}"
            for name in ("checkpoint", "input")
            if name not in missing
        ]
    if problems:
        raise ConfigError("cytoloop predict", problems, "See `cytoloop predict --help`.")
