"""What the first process of a training hands to the others, and how all of them end.

Only the process of rank 0 checks, plans, writes files and talks to MLflow. It sends the completed
config through torch's key-value store (`torch.distributed.TCPStore`). The other processes wait for
the config, and then only take part in steps and validations. Lightning, torchrun or SLURM starts
all processes.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.fabric.plugins.environments import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import find_free_network_port
from omegaconf import DictConfig, OmegaConf
from torch.distributed import DistError, TCPStore

from cytoloop.errors import BUG, DONE, STOPPED, USER_ERROR, CytoloopError, ModelError
from cytoloop.model.hardware import device_names
from cytoloop.terminal import stderr_console
from cytoloop.tracking.lock import lock_devices
from cytoloop.training.group import (
    CONFIG_KEY,
    POLL_SECONDS,
    Group,
    connect,
    failed_key,
    first_line,
    is_lost_connection,
    poll,
    ready_key,
)
from cytoloop.training.launch import rank_of
from cytoloop.training.watch import Watch

log = logging.getLogger(__name__)


_EXIT_TIMEOUT = 60.0  # seconds, for the other processes to end after the training
_REPORT_TIMEOUT = 3.0  # seconds, for the report of a process that fails
_VARIABLES = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE")


_current: Group | None = None
"""The group of this process, while it is the first of a launcher's processes."""


@contextmanager
def leading(environment: ClusterEnvironment) -> Iterator[None]:
    """Be the first of the processes that torchrun or SLURM started, as long as the block runs.

    When the block ends before the training has begun, the others end, too.

    Parameters
    ----------
    environment : ClusterEnvironment

    Raises
    ------
    ModelError
        The other processes do not connect.
    """
    global _current
    _current = Group(connect(environment), environment.world_size())
    try:
        yield
    finally:
        group, _current = _current, None
        with suppress(DistError):  # the agent of torchrun, which hosts the store, has ended
            group.end()
        _leave_process_group()


@contextmanager
def with_other_processes(trainer: Trainer, cfg: DictConfig) -> Iterator[None]:
    """Give the config to the other processes, and end them when the block (the fit) ends.

    Parameters
    ----------
    trainer : Trainer
        Built from the config. With one process nothing happens.
    cfg : DictConfig
        The completed config.

    Raises
    ------
    ModelError
        Another process failed.
    """
    if trainer.world_size == 1:
        yield
        return
    config = OmegaConf.to_yaml(cfg, resolve=True)
    with nullcontext(_current) if _current else _started_by_lightning(trainer) as group:
        group.send(CONFIG_KEY, config=config)
        if _current:
            group.wait_until_ready()
        try:
            yield
        except Exception as error:
            if is_lost_connection(error):
                _raise_cause(group, trainer, error)
            raise
    _leave_process_group()


@contextmanager
def _started_by_lightning(trainer: Trainer) -> Iterator[Group]:
    """Host the store for processes that Lightning starts, watch the processes, and end them."""
    former = {name: os.environ.get(name) for name in _VARIABLES}
    port = find_free_network_port()
    store = TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False, multi_tenant=True)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    watch = Watch(trainer)
    watch.start()
    try:
        yield Group(store, trainer.world_size, watch.problem)
        poll(lambda: all(p.poll() is not None for p in watch.processes), _EXIT_TIMEOUT)
    finally:
        watch.end()
        _leave_process_group()  # the next job of a sweep creates its own
        for name, value in former.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _raise_cause(group: Group, trainer: Trainer, error: Exception) -> None:
    """Raise the failure of the process whose connection was lost.

    This waits a moment for its report. By then the SIGTERM with which torchrun ends the other
    processes has arrived, too; it would interrupt the end of the MLflow run.

    Raises
    ------
    ModelError
    """
    poll(lambda: bool(group.failures()), _REPORT_TIMEOUT)
    group.raise_reported_failure()
    raise ModelError(
        "trainer",
        group.problem() or f"another process has ended: {first_line(error)}",
        "Continue from the last checkpoint: cytoloop train resume="
        f"{os.path.relpath(str(trainer.default_root_dir))}",
    ) from error


def join_training(environment: ClusterEnvironment, run: Callable[[DictConfig], Any]) -> int:
    """Wait for the config of the first process, take part in its training, return the exit status.

    Parameters
    ----------
    environment : ClusterEnvironment
        Of a process whose rank is not 0.
    run : callable
        Trains with the config.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    rank = rank_of(environment)
    try:
        group = Group(connect(environment), 0)
        while not group.has(CONFIG_KEY):
            time.sleep(POLL_SECONDS)
        text = group.receive(CONFIG_KEY)["config"]
    except (DistError, ModelError) as error:
        _print_error(rank, f"the first process has ended: {first_line(error)}")
        return USER_ERROR
    except KeyboardInterrupt:
        return STOPPED
    if text is None:  # it has printed the reason
        group.send(ready_key(rank))
        _print_error(rank, "the first process ended before the training; see its output")
        return USER_ERROR
    cfg: Any = OmegaConf.create(text)
    with ExitStack() as stack:
        first_of_machine = environment.local_rank() == 0

        def take_part() -> None:
            if first_of_machine:
                stack.enter_context(_locked(cfg))
            cfg.logger = None  # only the first process logs to MLflow
            group.send(ready_key(rank))
            run(cfg)

        return _report(group, rank, Path(cfg.paths.output_dir), take_part)


@contextmanager
def _locked(cfg: DictConfig) -> Iterator[None]:
    """Lock the devices of this machine, which is not that of the first process."""
    devices = device_names(str(cfg.trainer.accelerator), cfg.trainer.devices)
    with lock_devices(cfg.paths.output_dir, devices if cfg.lock else []) as name_run:
        name_run(str(OmegaConf.select(cfg, "logger.mlflow.run_id") or ""))
        yield


def _report(group: Group, rank: int, folder: Path, work: Callable[[], None]) -> int:
    """Do the work of a process, with a log file; report a failure to the first process."""
    file = folder.absolute() / f"process-{rank}.log"
    file.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(file, mode="w", encoding="utf-8")
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    log.info("process %d", rank)
    try:
        work()
    except (KeyboardInterrupt, SystemExit):  # all processes stop at the same step
        log.info("stopped")
    except Exception as error:
        log.exception("")
        lost = is_lost_connection(error)
        if not lost:
            group.send(failed_key(rank), reason=first_line(error), log=str(file))
        _print_error(rank, f"{type(error).__name__}: {first_line(error)}")
        return USER_ERROR if lost or isinstance(error, CytoloopError) else BUG
    finally:
        _leave_process_group()
    return DONE


def _leave_process_group() -> None:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _print_error(rank: int, text: str) -> None:
    stderr_console.print(f"process {rank}: {text}", style="red", markup=False, soft_wrap=True)
