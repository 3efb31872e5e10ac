"""`cytoloop rank`: predictions of a pool by several models in, what to label next out."""

from __future__ import annotations

import logging
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

from cytoloop.cli.app import config_to_dict
from cytoloop.home import expand_home

log = logging.getLogger(__name__)

_MAX_ROWS = 20


def run(cfg: Any) -> None:
    """Rank the images of the pool, and log the commands that go on from there."""
    from cytoloop.curation.pool.rank import NEXT_FILE, RANKED_FILE, rank_pool, ranked_table
    from cytoloop.curation.pool.settings import RankSettings
    from cytoloop.terminal import can_show_progress, stdout_console
    from cytoloop.workers.engine import Engine

    values = config_to_dict(cfg)
    settings = RankSettings.from_config(values)
    engine = Engine(workers=values["workers"])
    output = expand_home(str(values["output"] or Path(str(values["models_of"]), "next")))
    if values["models_of"] is not None:
        from cytoloop.studies.pool import predict_pool

        tables = predict_pool(expand_home(str(cfg.models_of)), str(cfg.input), output)
        settings = replace(settings, predictions=tuple(map(str, tables)))
    rows = rank_pool(settings, output, engine, can_show_progress())
    stdout_console.print(ranked_table(rows[: min(settings.count, _MAX_ROWS)]))
    log.info("wrote %s and %s", output / RANKED_FILE, output / NEXT_FILE)
    table = shlex.quote(str(output / NEXT_FILE))
    log.info("next: cytoloop annotate data.path=%s output=annotation/", table)
    log.info("or:   cytoloop curate raw=%s output=review/, and correct labels in the viewer", table)
