"""One of the other processes of a training, see `cytoloop.training.processes`."""

from __future__ import annotations

import logging
import os
import sys

from omegaconf import DictConfig, OmegaConf

from cytoloop.errors import CytoloopError
from cytoloop.training.processes import READY

log = logging.getLogger(__name__)


def main() -> int:
    """Take part in the training whose config stands on standard input; return the exit status."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    cfg = OmegaConf.create(sys.stdin.read())
    if not isinstance(cfg, DictConfig):
        log.error("no config on standard input")
        return 2
    cfg.logger = None  # the first process tells the run
    from cytoloop.training.fit import run_trainer

    sys.stdout.write(f"{READY}\n")
    sys.stdout.flush()
    # from here on nobody reads what libraries print
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
