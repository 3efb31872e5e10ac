"""`cytoloop models`: the model registry, and models from and to other tools."""

from __future__ import annotations

import difflib
import logging
import shlex
from pathlib import Path
from typing import Any

from cytoloop.cli.app import ExitStatus
from cytoloop.errors import ConfigError

log = logging.getLogger(__name__)

REQUIRED: dict[str, tuple[str, ...]] = {
    "list": (),
    "show": ("checkpoint",),
    "register": ("checkpoint", "name"),
    "promote": ("checkpoint",),
    "import": ("checkpoint", "name"),
    "export": ("checkpoint", "output"),
}
"""The keys that each action requires."""


def run(cfg: Any) -> ExitStatus | None:
    """Run the action of ``cytoloop models ACTION``."""
    if cfg.action not in REQUIRED:
        near = difflib.get_close_matches(str(cfg.action), REQUIRED, n=1)
        hint = f"Did you mean `cytoloop models {near[0]}`?" if near else "See --help."
        raise ConfigError(
            f"cytoloop models {cfg.action}",
            f"unknown action, expected one of {', '.join(REQUIRED)}",
            hint,
        )
    if missing := [f"{key}=... is missing" for key in REQUIRED[cfg.action] if not cfg[key]]:
        raise ConfigError(f"cytoloop models {cfg.action}", missing, "See `cytoloop models --help`.")
    actions = {"list": _list, "show": _show, "promote": _promote, "export": _export}
    return actions.get(cfg.action, _register)(cfg)


def _list(cfg: Any) -> None:
    from cytoloop.pretrained.shipped import SCHEME, shipped_models
    from cytoloop.terminal import stdout_console
    from cytoloop.tracking.registry import list_versions
    from cytoloop.tracking.registry_tables import versions_table

    log.info("shipped with CytoLoop: %s", ", ".join(f"{SCHEME}{n}" for n in shipped_models()))
    if versions := list_versions(cfg.name):
        stdout_console.print(versions_table(versions))
    else:
        log.info("no model is registered; register one with `cytoloop models register`")


def _show(cfg: Any) -> None:
    from rich.markdown import Markdown

    from cytoloop.pretrained.shipped import is_shipped, model_card
    from cytoloop.terminal import stdout_console
    from cytoloop.tracking.registry import find_version
    from cytoloop.tracking.registry_tables import version_details_table

    if is_shipped(str(cfg.checkpoint)):
        stdout_console.print(Markdown(model_card(str(cfg.checkpoint))))
        return
    stdout_console.print(version_details_table(find_version(cfg.checkpoint)))


def _register(cfg: Any) -> None:
    from cytoloop.rounds.registration import import_checkpoint, register_checkpoint

    register = register_checkpoint if cfg.action == "register" else import_checkpoint
    version = register(str(cfg.checkpoint), str(cfg.name))
    log.info("next: cytoloop models promote checkpoint=%s", shlex.quote(version.uri))


def _promote(cfg: Any) -> ExitStatus:
    from cytoloop.evaluation.comparison import VerdictRule
    from cytoloop.rounds.promotion import ScoreSources, promote

    rule = VerdictRule(cfg.score, cfg.min_effect, cfg.min_units, cfg.resamples, cfg.seed)
    output = Path(cfg.output or f"{cfg.paths.runs_dir}/promotions")
    sources = ScoreSources(cfg.a, cfg.b, cfg.truth, cfg.input, output)
    return ExitStatus(promote(cfg.checkpoint, rule, sources, bool(cfg.force)))


def _export(cfg: Any) -> None:
    from cytoloop.model.exporters import About
    from cytoloop.rounds.registration import export_checkpoint

    text = cfg.about
    about = About(cfg.name or "model", text.description, list(text.authors), text.license)
    difference = export_checkpoint(
        str(cfg.checkpoint), cfg.format, cfg.output, about, bool(cfg.overwrite)
    )
    log.info("wrote %s; loaded again, its output differs by at most %.2g", cfg.output, difference)
