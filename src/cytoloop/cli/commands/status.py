"""`cytoloop status`: trainings that run, and recent ones; `watch=true` follows one."""

from __future__ import annotations

import logging
from typing import Any

from cytoloop.errors import ConfigError

log = logging.getLogger(__name__)


def run(cfg: Any) -> None:
    """Show the table, or follow one training until it ends."""
    from cytoloop.terminal import stdout_console
    from cytoloop.tracking.live_view import trainings_table, watch_training
    from cytoloop.tracking.run_status import find_status, list_statuses

    if int(cfg.max_rows) < 1:
        raise ConfigError("most", f"is {cfg.max_rows}", "Expected 1 or more.")
    found = [find_status(str(cfg.run), cfg.paths.runs_dir)] if cfg.run else []
    found = found or list_statuses(cfg.paths.runs_dir)[-int(cfg.max_rows) :]
    running = [one for one in found if one.holder is not None]
    if cfg.watch and running:
        log.info("watching %s (Ctrl-C ends the watching, not the training)", running[-1].folder)
        try:
            watch_training(running[-1])
        except KeyboardInterrupt:
            log.info(
                "the training goes on; stop it with: cytoloop cancel run=%s", running[-1].folder
            )
        return
    if not found:
        log.info("no training in this folder or on this machine yet")
        return
    stdout_console.print(trainings_table(found))
    if cfg.watch:
        log.info("nothing runs: there is nothing to watch")
