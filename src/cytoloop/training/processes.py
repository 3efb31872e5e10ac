"""Training with several processes on this machine: start and end the additional processes.

Lightning would run the whole command line again in each process, with its checks, its plan and its
MLflow run. Here only the first process runs the command. The others get its completed config, take
part in steps and validations, and write only a log.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.environments.lightning import find_free_network_port
from omegaconf import DictConfig, OmegaConf

from cytoloop.errors import ConfigError, ModelError

log = logging.getLogger(__name__)

READY = "ready"
"""A process prints this line when its imports are done and it waits for the others."""
_EXIT_TIMEOUT = 60  # seconds
_MAX_CPU_PROCESSES = 64


def process_count(trainer: DictConfig) -> int:
    """Return the number of processes that a trainer's config asks for.

    Raises
    ------
    ConfigError
        The strategy starts processes itself, or the config asks for more than one machine.
    """
    problems = []
    strategy = trainer.get("strategy", "auto")
    if isinstance(strategy, str) and any(w in strategy for w in ("spawn", "fork", "notebook")):
        problems.append(f"strategy is {strategy}, expected ddp: CytoLoop starts the processes")
    if trainer.get("num_nodes", 1) != 1:
        problems.append(f"num_nodes is {trainer.num_nodes}, expected 1: one machine")
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
        raise ConfigError("trainer", problems, "See docs/training.md, `Several processes`.")
    return count


@contextmanager
def other_processes(cfg: DictConfig, folder: Path) -> Iterator[None]:
    """Start the additional processes of a training, and end them at the end of the block.

    Parameters
    ----------
    cfg : DictConfig
        The completed config.
    folder : Path
        Folder for ``process-1.log`` and so on.

    Raises
    ------
    ModelError
        A process ended too early; the error has its last log line.
    """
    count = process_count(cfg.trainer)
    if count < 2:
        yield
        return
    variables = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(find_free_network_port()),
        "NODE_RANK": "0",
        "WORLD_SIZE": str(count),
    }
    former = {name: os.environ.get(name) for name in (*variables, "LOCAL_RANK")}
    os.environ.update(variables, LOCAL_RANK="0")  # Lightning then starts no processes
    config = OmegaConf.to_yaml(cfg, resolve=True)
    started: list[_Process] = []
    try:
        started += [_Process(rank, config, folder) for rank in range(1, count)]
        for process in started:
            process.wait_until_ready()
        log.info("%d processes", count)
        try:
            yield
        except Exception as error:  # if a process ends, communication fails in the others
            for process in started:
                process.raise_failure(error)
            raise
        for process in started:
            process.popen.wait(_EXIT_TIMEOUT)
    finally:
        for process in started:
            process.end()
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()  # the next job of a sweep creates its own
        for name, value in former.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


class _Process:
    """One of the additional processes.

    Parameters
    ----------
    rank : int
        Number of the process, from 1.
    config : str
        The completed config as YAML, interpolations resolved.
    folder : Path
        Folder for its log.
    """

    def __init__(self, rank: int, config: str, folder: Path) -> None:
        self.rank = rank
        self.log = folder / f"process-{rank}.log"
        with self.log.open("w", encoding="utf-8") as file:
            self.popen: subprocess.Popen[str] = subprocess.Popen(
                [sys.executable, "-m", "cytoloop.training.process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                env={**os.environ, "LOCAL_RANK": str(rank)},
                start_new_session=True,  # only the first process gets Ctrl-C; it stops the others
            )
        pipe: Any = self.popen.stdin
        try:
            pipe.write(config)
            pipe.close()
        except BrokenPipeError:  # it has ended already; `wait_until_ready` raises the error
            pass

    def wait_until_ready(self) -> None:
        """Wait until the process is ready or has ended.

        Raises
        ------
        ModelError
            It has ended.
        """
        pipe: Any = self.popen.stdout
        for line in pipe:
            if line.strip() == READY:
                return
        self.popen.wait(_EXIT_TIMEOUT)
        self.raise_failure(None)
        raise ModelError(f"process {self.rank}", "ended before it was ready", f"See {self.log}.")

    def raise_failure(self, error: Exception | None) -> None:
        """Raise the error of this process, if it has failed.

        Parameters
        ----------
        error : Exception, optional
            The error of the first process, which follows from it.

        Raises
        ------
        ModelError
            With the last line of the process's log.
        """
        try:
            status = self.popen.wait(5)
        except subprocess.TimeoutExpired:
            return  # it is still running
        if status:
            lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            reason = lines[-1] if lines else f"exit status {status}"
            repair = f"See {self.log}."
            raise ModelError(f"process {self.rank}", reason[:1000], repair) from error

    def end(self) -> None:
        """Kill the process if it is running; the first process has all results."""
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait()
        pipe: Any = self.popen.stdout
        pipe.close()
