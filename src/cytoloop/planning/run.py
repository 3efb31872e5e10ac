"""The plan of a run: made or read, told, and left in the run's folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from omegaconf import DictConfig

from cytoloop.data.preflight import DatasetFacts
from cytoloop.manifest import Manifest
from cytoloop.planning.describe import describe, plan_table
from cytoloop.planning.fingerprint import Fingerprint
from cytoloop.planning.knobs import AUTO
from cytoloop.planning.plan import PATCH
from cytoloop.planning.plan_file import write_plan
from cytoloop.planning.settle import settle
from cytoloop.terminal import results

log = logging.getLogger(__name__)

PLAN = "plan.yaml"


def plan_run(
    cfg: DictConfig,
    dataset: Mapping[str, Manifest],
    facts: DatasetFacts,
    output: Path | None = None,
    init_from: Path | None = None,
) -> None:
    """Fill in what the config leaves to the plan, and say why.

    Parameters
    ----------
    cfg : DictConfig
        Changed in place, see `settle`.
    dataset, facts, init_from
        See `settle`.
    output : Path, optional
        The run's folder, where ``plan.yaml`` is left. A run that is resumed goes by the one that
        lies there.

    Raises
    ------
    ConfigError
        See `settle`.
    """
    former = output / PLAN if output is not None and cfg.get("resume") else None
    given = None if cfg.plan in (None, AUTO, True) else Path(str(cfg.plan))
    file = former if former is not None and former.is_file() else given
    plan = settle(cfg, dataset, facts, file, init_from)
    if plan.fingerprint is None or plan.hardware is None:
        return
    lines = list(describe(plan.fingerprint, plan.hardware))
    for line in lines:
        log.info("%s", line)
    results.print(plan_table(plan.choices))
    _warn_of_small_patch(cfg.data.patch_size, plan.fingerprint)
    if output is not None and file != former:
        write_plan(output / PLAN, plan.choices, lines)
        log.info("plan: %s", output / PLAN)


def _warn_of_small_patch(patch: Sequence[int], found: Fingerprint) -> None:
    """Say where a patch that the user chose holds no large object as a whole."""
    for axis, size, extent in zip(
        "ZYX"[-found.dims :], patch, (found.diameter or [()])[-1], strict=False
    ):
        if size < extent:
            text = "%s: %s = %d, large objects are %.0f long"
            log.warning(text, PATCH, axis, size, extent)
