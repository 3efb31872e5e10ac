"""The plan of a run: made or read, told, and left in the run's folder."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from cytoloop.bounds import AUTO
from cytoloop.errors import ConfigError
from cytoloop.manifest import Manifest
from cytoloop.terminal import stdout_console
from cytoloop.training.prepare.dataset import DatasetFacts
from cytoloop.training.prepare.plan.choices import PATCH
from cytoloop.training.prepare.plan.describe import describe, plan_table
from cytoloop.training.prepare.plan.file import read_plan, write_plan
from cytoloop.training.prepare.plan.fingerprint import Fingerprint
from cytoloop.training.prepare.plan.resolve_auto import settle

log = logging.getLogger(__name__)

PLAN = "plan.yaml"


def plan_run(
    cfg: DictConfig,
    dataset: Mapping[str, Manifest],
    facts: DatasetFacts,
    fetch: Callable[[str, str], Path],
    output: Path | None = None,
    init_from: Path | None = None,
) -> Path | None:
    """Fill in what the config leaves to the plan, and say why; return the file that holds it.

    Parameters
    ----------
    cfg : DictConfig
        Changed in place, see `settle`.
    dataset, facts, init_from
        See `settle`.
    fetch : callable
        Returns a file (by its name) of an earlier run, for ``plan=runs:/ID``.
    output : Path, optional
        The run's folder, where ``plan.yaml`` is left. A run that is resumed goes by the one that
        lies there.

    Returns
    -------
    Path or None
        The run's ``plan.yaml``; None where nothing is left to a plan, or there is no folder.

    Raises
    ------
    ConfigError
        See `settle`; or the plan of a run that is resumed was edited.
    """
    former = output / PLAN if output is not None and cfg.get("resume") else None
    if former is not None and former.is_file():
        _refuse_edited(former)
        file: Path | None = former
    elif cfg.plan in (None, AUTO, True):
        file = None
    else:
        named = str(cfg.plan)
        file = fetch(named, PLAN) if named.startswith("runs:") else Path(named)
    plan = settle(cfg, dataset, facts, file, init_from)
    if plan.fingerprint is None or plan.hardware is None:
        return None
    lines = list(describe(plan.fingerprint, plan.hardware))
    for line in lines:
        log.info("%s", line)
    stdout_console.print(plan_table(plan.choices))
    _warn_of_small_patch(cfg.data.patch_size, plan.fingerprint)
    if output is None:
        return None
    if file is None or file != former:
        write_plan(output / PLAN, plan.choices, lines)
        log.info("plan: %s", output / PLAN)
    return output / PLAN


def _refuse_edited(path: Path) -> None:
    """Refuse to go on with a run whose plan was edited since: it would not be the same run."""
    config = path.with_name("config.yaml")
    ran = OmegaConf.load(config) if config.is_file() else OmegaConf.create()
    problems = [
        f"{key} is {value} now, the run was started with {former}"
        for key, value in read_plan(path).items()
        if (former := OmegaConf.select(ran, key)) not in (None, value)
    ]
    if problems:
        raise ConfigError(
            str(path),
            problems,
            "Undo the edit, or start a new run with plan=FILE init_from=FOLDER.",
        )


def _warn_of_small_patch(patch: Sequence[int], found: Fingerprint) -> None:
    """Say where a patch that the user chose holds no large object as a whole."""
    for axis, size, extent in zip(
        "ZYX"[-found.dims :], patch, (found.diameter or [()])[-1], strict=False
    ):
        if size < extent:
            text = "%s: %s = %d, large objects are %.0f long"
            log.warning(text, PATCH, axis, size, extent)
