"""`cytoloop status`: running and recent trainings; `watch=true` follows one."""

from __future__ import annotations

import logging
import shlex
from typing import Any

from cytoloop.errors import ConfigError

log = logging.getLogger(__name__)


def run(cfg: Any) -> None:
    """Print a table of trainings, or follow one training until it ends."""
    from cytoloop.terminal import stdout_console
    from cytoloop.tracking.live_view import trainings_table, watch_training
    from cytoloop.tracking.run_status import find_status, list_statuses

    if int(cfg.max_rows) < 1:
        raise ConfigError(
            f"max_rows={cfg.max_rows}", "the table would be empty", "Expected 1 or more."
        )
    if cfg.run:
        statuses = [find_status(str(cfg.run), cfg.paths.runs_dir)]
    else:
        statuses = list_statuses(cfg.paths.runs_dir)[-int(cfg.max_rows) :]
    running = [status for status in statuses if status.process is not None]
    if cfg.watch and running:
        folder = running[-1].folder
        name = f"run={shlex.quote(str(folder))}"
        log.info("watching %s (Ctrl-C ends this view, not the training)", folder)
        try:
            watch_training(running[-1])
        except KeyboardInterrupt:
            log.info("the training continues; stop it with: cytoloop cancel %s", name)
        return
    if not statuses:
        log.info("no trainings in this folder, and none running on this machine")
        return
    stdout_console.print(trainings_table(statuses))
    if cfg.run:
        for finding in statuses[0].findings:
            log.info("%s\n  try: %s", finding["text"], finding["next"])
    if cfg.watch:
        log.info("no training is running, so there is nothing to watch")
