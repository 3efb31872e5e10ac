"""Which launcher started this process, and whether a trainer's settings fit to it.

Lightning's environments know `torchrun`, SLURM, LSF, MPI and Lightning's own launcher.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    LSFEnvironment,
    MPIEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from omegaconf import DictConfig, OmegaConf

from cytoloop.errors import ConfigError

_REPAIR = (
    "Several processes: trainer.devices=2 on one machine; trainer.devices and trainer.num_nodes "
    "with torchrun or srun on several."
)
_MAX_CPU_PROCESSES = 64
_COMMANDS = ("cytoloop", "cytoloop.__main__")


def find_launcher() -> ClusterEnvironment | None:
    """Return the environment of the launcher, None if it started only this process.

    Raises
    ------
    ConfigError
        The variables of SLURM contradict each other.
    """
    if (environment := _cluster()) is not None:
        return environment if environment.world_size() > 1 else None
    started_by_lightning = LightningEnvironment()
    return started_by_lightning if started_by_lightning.local_rank() > 0 else None


def _cluster() -> ClusterEnvironment | None:
    """Return the environment of torchrun, SLURM, LSF or MPI, None without one of these."""
    # the order of Lightning's trainer
    for kind in (TorchElasticEnvironment, SLURMEnvironment, LSFEnvironment, MPIEnvironment):
        if not kind.detect():
            continue
        try:
            environment = kind()
        except RuntimeError as error:  # `--ntasks` without `--ntasks-per-node`
            raise ConfigError("launcher", " ".join(str(error).split()), _REPAIR) from error
        return environment
    return None


def rank_of(environment: ClusterEnvironment) -> int:
    """Return the number of this process among those of all machines, from 0."""
    if isinstance(environment, LightningEnvironment):  # one machine; it has no global rank yet
        return environment.local_rank()
    return environment.global_rank()


def process_count(trainer: DictConfig) -> int:
    """Return the number of processes on this machine that a trainer's config asks for.

    Raises
    ------
    ConfigError
        The strategy copies this process, or there are more processes than a CPU can run.
    """
    problems = []
    strategy = trainer.get("strategy", "auto")
    if isinstance(strategy, str) and any(w in strategy for w in ("spawn", "fork", "notebook")):
        problems.append(f"strategy is {strategy}, expected ddp: it starts new processes")
    devices, accelerator = trainer.get("devices", 1), str(trainer.get("accelerator", "auto"))
    on_gpu = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    if OmegaConf.is_list(devices):
        count = len(devices)
    elif str(devices) in ("auto", "-1"):
        count = torch.cuda.device_count() if on_gpu else 1
    else:
        count = int(devices)
        if not on_gpu and count > _MAX_CPU_PROCESSES:
            problems.append(f"devices is {count}, expected at most {_MAX_CPU_PROCESSES} processes")
    if problems:
        raise ConfigError("trainer", problems, _REPAIR)
    return count


def check_launch(trainer: DictConfig) -> None:
    """Refuse a trainer's config that does not fit to the launcher of this process.

    Raises
    ------
    ConfigError
        The launcher started another number of processes; or there is no launcher, and Lightning
        cannot start the processes either.
    """
    devices, machines = process_count(trainer), int(trainer.get("num_nodes", 1))
    if (cluster := _cluster()) is not None:
        if (found := cluster.world_size()) != devices * machines:
            raise ConfigError(
                "trainer",
                f"devices is {devices} and num_nodes is {machines}, but the launcher started "
                f"{found} processes",
                "Set trainer.devices (processes of a machine) and trainer.num_nodes (machines). "
                f"{_REPAIR}",
            )
        return
    if machines != 1:
        raise ConfigError(
            "trainer.num_nodes",
            f"is {machines}, but only this process was started",
            f"Start the command with torchrun or srun on each machine. {_REPAIR}",
        )
    if devices > 1 and LightningEnvironment().creates_processes_externally:
        raise ConfigError(
            "LOCAL_RANK",
            f"is set, so that Lightning does not start the other {devices - 1} processes",
            "Unset this environment variable.",
        )
    if devices > 1 and not _is_the_command():
        raise ConfigError(
            "trainer.devices",
            f"is {devices}, but Lightning can start more processes only for the command `cytoloop`",
            f"Use the command line, or start your script with torchrun. {_REPAIR}",
        )


def _is_the_command() -> bool:
    """Return whether this is `cytoloop ...` or `python -m cytoloop ...`, not another program."""
    main: Any = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    return (Path(sys.argv[0]).stem if spec is None else spec.name) in _COMMANDS
