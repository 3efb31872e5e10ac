"""`cytoloop compare`: two evaluations or more in; a verdict, tables and a report out."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from cytoloop.cli.app import ExitStatus
from cytoloop.evaluation.comparison import (
    VerdictRule,
    compare,
    comparison_table,
    read_evaluation,
    write_changes,
    write_comparison,
)

log = logging.getLogger(__name__)

STATUS = {"better": 0, "no evidence": 3, "worse": 4}
"""Exit status of each verdict on b; 1 and 2 are errors."""


def run(cfg: Any) -> ExitStatus:
    """Compare b and more with a, write, print; return the verdict on b as exit status."""
    from cytoloop.terminal import stdout_console
    from cytoloop.tracking.scores import locate_scores

    rule = VerdictRule(
        cfg.score, float(cfg.min_effect), int(cfg.min_units), int(cfg.resamples), int(cfg.seed)
    )
    more = [cfg.more] if isinstance(cfg.more, str) else list(cfg.more)
    sources = {name: str(cfg[name]) for name in ("a", "b")}
    sources |= {f"more{number}": str(source) for number, source in enumerate(more, start=1)}
    scored = [read_evaluation(name, text, locate_scores(text)) for name, text in sources.items()]
    comparisons = [compare(scored[0], other, rule) for other in scored[1:]]
    output = Path(cfg.output)
    pictures = {
        one.second.name: write_changes(one, output / "pictures", int(cfg.pictures))
        for one in comparisons
    }
    files = write_comparison(comparisons, output, pictures)
    for one in comparisons:
        stdout_console.print(comparison_table(one))
    log.info("wrote %s", ", ".join(map(str, files)))
    return ExitStatus(STATUS[comparisons[0].verdict])
