"""Settings of targets and checks: what training learns from a row, and which rows are good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cytoloop.curation.checks.quality_limits import Limit, limits_from
from cytoloop.curation.region_cells import split_rules
from cytoloop.curation.settings.validation import (
    checked_by,
    one_of,
    quality_limits,
    region_rules,
    true_or_false,
    whole_number,
)
from cytoloop.truth.regions import MERGE_RULES
from cytoloop.workers.engine import ENGINES, LOCAL, Engine


@dataclass(frozen=True, kw_only=True)
class TargetSettings:
    """How the training target of a row is made from its segmentations and regions.

    Attributes
    ----------
    base_image : str or None
        ``seg1`` or ``seg2``: the segmentation outside merging regions, for rows that name none.
        None: ``seg1``.
    merge_rule : str or None
        ``clip`` or ``majority``, for rows that name none. None: ``clip``.
    exclude_rules : str or sequence of str
        Regions excluded from every image: ``outside_labels(20)``, ``saturated``, ``labels(3)``.
        One text may hold several, with ``;`` or ``,`` between them.
    materialize : bool
        Write merged targets as OME-TIFF. False: they are merged whenever they are read.
    """

    base_image: str | None = field(default=None, metadata=checked_by(one_of("seg1", "seg2", None)))
    merge_rule: str | None = field(default=None, metadata=checked_by(one_of(*MERGE_RULES, None)))
    exclude_rules: str | Sequence[str] = field(default=(), metadata=checked_by(region_rules))
    materialize: bool = field(default=False, metadata=checked_by(true_or_false))

    @property
    def rules(self) -> tuple[str, ...]:
        """The region rules, one by one."""
        return split_rules(self.exclude_rules)


@dataclass(frozen=True, kw_only=True)
class CheckSettings:
    """Which rows are good, and what happens to the others.

    Attributes
    ----------
    instances : bool
        Require one label per object: a binary segmentation with several objects is a problem.
    quality : mapping
        Limits of the quality metrics, see `cytoloop.curation.checks.quality_limits`.
    predictions : str, Path or None
        ``predictions.csv`` of an earlier model, for the ranking.
    on_problem : str
        ``refuse``: one bad row or unmatched file, and nothing is written. ``reject``: bad rows
        are rejected, unmatched files are left out.
    workers : int
        Processes that check images; 0: one per core. With several, a script needs the usual
        ``if __name__ == "__main__":``.
    engine : str
        ``local`` or ``dask``, see `cytoloop.workers.engine.Engine`.
    scheduler : str or None
        Address of a Dask scheduler.
    """

    instances: bool = field(default=False, metadata=checked_by(true_or_false))
    quality: Mapping[str, Any] = field(default_factory=dict, metadata=checked_by(quality_limits))
    predictions: str | Path | None = None
    on_problem: str = field(default="refuse", metadata=checked_by(one_of("refuse", "reject")))
    workers: int = field(
        default=1, metadata=checked_by(whole_number("0 (all cores), 1, 2 ...", minimum=0))
    )
    engine: str = field(default=LOCAL, metadata=checked_by(one_of(*ENGINES)))
    scheduler: str | None = None

    @property
    def processes(self) -> Engine:
        """Which processes check the images."""
        return Engine(self.engine, self.workers, self.scheduler)

    @property
    def limits(self) -> dict[str, Limit]:
        """Limits of all quality metrics."""
        return limits_from(self.quality)
