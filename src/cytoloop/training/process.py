"""Entry point of one of the additional processes that `cytoloop.training.processes` starts."""

from __future__ import annotations

import logging
import os
import sys

from omegaconf import DictConfig, OmegaConf

from cytoloop.errors import CytoloopError
from cytoloop.training.processes import READY

log = logging.getLogger(__name__)


def main() -> int:
    """Take part in the training whose config is on standard input; return the exit status."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    cfg = OmegaConf.create(sys.stdin.read())
    if not isinstance(cfg, DictConfig):
        log.error("standard input has no config")
        return 2
    cfg.logger = None  # only the first process logs to MLflow
    from cytoloop.training.fit import run_trainer

    sys.stdout.write(f"{READY}\n")
    sys.stdout.flush()
    # the first process stops reading here: what libraries print goes to the log file
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        run_trainer(cfg)
    except CytoloopError as error:
        log.exception("")
        sys.stderr.write(" ".join(str(error).split()) + "\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
