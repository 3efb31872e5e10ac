"""`cytoloop models`: the registry, and models from and to other tools."""

from __future__ import annotations

import difflib
import logging
from pathlib import Path
from typing import Any

from cytoloop.cli.app import ExitStatus
from cytoloop.errors import ConfigError

log = logging.getLogger(__name__)

NEEDED: dict[str, tuple[str, ...]] = {
    "list": (),
    "show": ("checkpoint",),
    "register": ("checkpoint", "name"),
    "promote": ("checkpoint",),
    "import": ("checkpoint", "name"),
    "export": ("checkpoint", "output"),
}
"""What each action cannot do without."""


def run(cfg: Any) -> ExitStatus | None:
    """Do what ``action`` says."""
    if cfg.action not in NEEDED:
        near = difflib.get_close_matches(str(cfg.action), NEEDED, n=1)
        hint = f"Did you mean `cytoloop models {near[0]}`?" if near else "See --help."
        raise ConfigError(f"cytoloop models {cfg.action}", f"is none of {', '.join(NEEDED)}", hint)
    given = {"checkpoint": cfg.checkpoint, "name": cfg.name, "output": cfg.output}
    if missing := [f"{key}=... is missing" for key in NEEDED[cfg.action] if not given[key]]:
        raise ConfigError(f"cytoloop models {cfg.action}", missing, "See `cytoloop models --help`.")
    doing = {"promote": _promote, "export": _export, "register": _register, "import": _register}
    return doing.get(cfg.action, _tell)(cfg)


def _tell(cfg: Any) -> None:
    """List the versions, or show one."""
    from cytoloop.terminal import stdout_console
    from cytoloop.tracking.registry import find_version, list_versions
    from cytoloop.tracking.registry_tables import version_details_table, versions_table

    if cfg.action == "show":
        stdout_console.print(version_details_table(find_version(cfg.checkpoint)))
    elif versions := list_versions(cfg.name):
        stdout_console.print(versions_table(versions))
    else:
        log.info("no model is registered; register one with `cytoloop models register`")


def _register(cfg: Any) -> None:
    """Register the model of a run, or import one that no run here has made."""
    from cytoloop.inference.pyfunc import served
    from cytoloop.model.convert import own_form
    from cytoloop.tracking.checkpoints import LocatedCheckpoint, locate_checkpoint
    from cytoloop.tracking.registry import check_model_name, register_model

    check_model_name(cfg.name)
    if str(cfg.checkpoint).lower().endswith(".zip"):
        located = LocatedCheckpoint(cfg.checkpoint, Path(cfg.checkpoint).expanduser(), None)
    else:
        located = locate_checkpoint(cfg.checkpoint)
    if cfg.action == "register" and located.run_id is None:
        found = "no run here has made it, so nobody could tell where it is from"
        again = f"cytoloop models import checkpoint={cfg.checkpoint} name={cfg.name}"
        raise ConfigError(str(cfg.checkpoint), found, f"Make a run for it: {again}")
    with own_form(located.path) as file:
        run_id = located.run_id if cfg.action == "register" else None
        version = register_model(cfg.name, served(file), run_id, str(cfg.checkpoint))
    log.info("next: cytoloop models promote checkpoint=%s", version.uri)


def _promote(cfg: Any) -> ExitStatus:
    """Move the champion where the evaluations say so."""
    from cytoloop.evaluation.comparison import Rule
    from cytoloop.rounds.promotion import ScoreSources, promote

    rule = Rule(cfg.score, cfg.min_effect, cfg.min_units, cfg.resamples, cfg.seed)
    output = cfg.output or f"{cfg.paths.runs_dir}/promotions"
    evidence = ScoreSources(cfg.a, cfg.b, cfg.truth, cfg.input, Path(output))
    return ExitStatus(promote(cfg.checkpoint, rule, evidence, bool(cfg.force)))


def _export(cfg: Any) -> None:
    """Write the model in another form."""
    from cytoloop.inference.pyfunc import served
    from cytoloop.io.atomic import replacing_folder
    from cytoloop.model.checkpoint import read_checkpoint
    from cytoloop.model.convert import own_form
    from cytoloop.model.exporters import About, check_output, export_model
    from cytoloop.tracking.checkpoints import locate_checkpoint
    from cytoloop.tracking.mlflow_model import write_mlflow_model
    from cytoloop.tracking.registry import read_run_scores

    located = locate_checkpoint(cfg.checkpoint)
    scores = read_run_scores(located.run_id)
    if cfg.format == "pyfunc":
        check_output(cfg.output, cfg.overwrite)
        with own_form(located.path) as file, replacing_folder(cfg.output) as folder:
            difference = write_mlflow_model(served(file), folder, {})
    else:
        about = About(
            cfg.name or "model", cfg.about.description, list(cfg.about.authors), cfg.about.license,
            scores,
        )  # fmt: skip
        checkpoint = read_checkpoint(located.path)
        difference = export_model(checkpoint, cfg.format, cfg.output, about, cfg.overwrite)
    log.info("wrote %s; read again, it differs by %.2g at most", cfg.output, difference)
