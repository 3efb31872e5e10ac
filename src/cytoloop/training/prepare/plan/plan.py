"""The plan of a training run: read or made, shown, and written into the run's folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from cytoloop.bounds import AUTO
from cytoloop.errors import ConfigError
from cytoloop.manifest import Manifest
from cytoloop.terminal import stdout_console
from cytoloop.tracking.artifacts import find_artifact
from cytoloop.training.prepare.dataset import DatasetFacts
from cytoloop.training.prepare.plan.choice import PATCH
from cytoloop.training.prepare.plan.describe import describe, plan_table
from cytoloop.training.prepare.plan.file import read_plan, write_plan
from cytoloop.training.prepare.plan.fingerprint import Fingerprint
from cytoloop.training.prepare.plan.fixed_values import PlanFile
from cytoloop.training.prepare.plan.resolve_auto import Plan, resolve_auto

__all__ = ["PLAN", "Plan", "plan_training_run"]

log = logging.getLogger(__name__)

PLAN = "plan.yaml"


def plan_training_run(
    cfg: DictConfig,
    dataset: Mapping[str, Manifest],
    facts: DatasetFacts,
    parent: Path | None = None,
    output: Path | None = None,
) -> tuple[DictConfig, Plan]:
    """Return a config without ``auto``, and the plan; show it and write it.

    Parameters
    ----------
    cfg, dataset, facts, parent
        See `cytoloop.training.prepare.plan.resolve_auto.resolve_auto`.
    output : Path, optional
        The run's folder, for ``plan.yaml``. A resumed run follows the plan that lies there.

    Raises
    ------
    ConfigError
        See `resolve_auto`; or the plan of a resumed run was edited.
    """
    own = output / PLAN if output is not None else None
    resumed = bool(cfg.get("resume")) and own is not None and own.is_file()
    if resumed and own is not None:
        _refuse_edited(own)
        file: PlanFile | None = PlanFile(own, str(own))
    else:
        file = _plan_file(cfg.plan)
    cfg, plan = resolve_auto(cfg, dataset, facts, file, parent)
    if plan.fingerprint is None or plan.machine is None:
        return cfg, plan
    lines = list(describe(plan.fingerprint, plan.machine))
    for line in lines:
        log.info("%s", line)
    stdout_console.print(plan_table(plan.choices))
    _warn_of_small_patch(cfg.data.patch_size, plan.fingerprint)
    if own is not None and not resumed:
        write_plan(own, plan.choices, lines)
        log.info("plan: %s", own)
    return cfg, plan


def _plan_file(typed: object) -> PlanFile | None:
    """Return the plan that ``plan=`` names; None for ``auto``."""
    if typed in (None, AUTO, True):
        return None
    named = str(typed)
    return PlanFile(find_artifact(named, PLAN) if named.startswith("runs:") else Path(named), named)


def _refuse_edited(path: Path) -> None:
    """Refuse to resume a run whose plan was edited: it would not be the same run.

    Raises
    ------
    ConfigError
        All values that differ from the run's config.
    """
    config = path.with_name("config.yaml")
    ran = OmegaConf.load(config) if config.is_file() else OmegaConf.create()
    problems = [
        f"{key} is {value} now, the run was started with {former}"
        for key, value in read_plan(path).items()
        if (former := OmegaConf.select(ran, key)) not in (None, value)
    ]
    if problems:
        repair = "Undo the edit, or start a new run with plan=FILE init_from=FOLDER."
        raise ConfigError(str(path), problems, repair)


def _warn_of_small_patch(patch: Sequence[int], found: Fingerprint) -> None:
    """Warn of each axis along which the patch is smaller than a large object."""
    largest = (found.diameter or [()])[-1]
    for axis, size, extent in zip("ZYX"[-found.dims :], patch, largest, strict=False):
        if size < extent:
            text = "%s: %s = %d is smaller than large objects, which are %.0f long"
            log.warning(text, PATCH, axis, size, extent)
