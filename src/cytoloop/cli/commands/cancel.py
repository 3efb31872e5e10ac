"""`cytoloop cancel`: stop a training and keep its state."""

from __future__ import annotations

import logging
import shlex
from typing import Any

log = logging.getLogger(__name__)


def run(cfg: Any) -> None:
    """Stop a training, wait until it has ended, and print how to continue it."""
    from cytoloop.tracking.run_status import cancel_training, find_status

    status = find_status(str(cfg.run), cfg.paths.runs_dir)
    reported = -1.0
    try:
        for seconds in cancel_training(status):
            if reported < 0:
                log.info("the training will stop after the current step")
            elif seconds - reported > 30:
                log.info("still waiting for the end of a step or validation (%.0f s)", seconds)
            else:
                continue
            reported = seconds
    except KeyboardInterrupt:
        log.info("no longer waiting; the training will stop after the current step")
        return
    resume = f"resume={shlex.quote(str(status.folder))}"
    messages = {
        "stopped": f"stopped; continue with: cytoloop train {resume}",
        "finished": "the training had already finished",
        "ended": "stopped; no epoch was finished, so there is nothing to resume",
    }
    log.info("%s", messages.get(status.update().state, "stopped"))
