"""Training by several processes of this machine: the others are started and ended here.

Lightning would start the whole command line again for each of them, with its checks, its plan and
its MLflow run. Here this process is the training; the others are given its settled config, take
part in steps and validations, and write nothing but a log.
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
"""What a process says when it has imported everything and waits for the others."""
_LAST_SECONDS = 60
_MOST_ON_CPU = 64


def process_count(trainer: DictConfig) -> int:
    """Return how many processes a trainer's config asks for.

    Raises
    ------
    ConfigError
        A way to start them that is not ours, or more than one machine.
    """
    problems = []
    strategy = trainer.get("strategy", "auto")
    if isinstance(strategy, str) and any(w in strategy for w in ("spawn", "fork", "notebook")):
        problems.append(f"strategy is {strategy}: its processes would be copies of this one")
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
        if not on_gpu and count > _MOST_ON_CPU:
            problems.append(f"devices is {count}, expected {_MOST_ON_CPU} processes at most")
    if problems:
        raise ConfigError("trainer", problems, "See docs/training.md, `Several processes`.")
    return count


@contextmanager
def other_processes(cfg: DictConfig, folder: Path) -> Iterator[None]:
    """Start the other processes of a training, and end them with it.

    Parameters
    ----------
    cfg : DictConfig
        Complete.
    folder : Path
        For ``process-1.log`` and so on.

    Raises
    ------
    ModelError
        A process has ended before its time; its reason is told.
    """
    count = process_count(cfg.trainer)
    if count < 2:
        yield
        return
    place = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(find_free_network_port()),
        "NODE_RANK": "0",
        "WORLD_SIZE": str(count),
    }
    former = {name: os.environ.get(name) for name in (*place, "LOCAL_RANK")}
    os.environ.update(place, LOCAL_RANK="0")  # Lightning then starts none itself
    told = OmegaConf.to_yaml(cfg, resolve=True)
    started: list[_Process] = []
    try:
        started += [_Process(rank, told, folder) for rank in range(1, count)]
        for process in started:
            process.wait_until_ready()
        log.info("%d processes", count)
        try:
            yield
        except Exception as error:  # a process that is gone ends the talk of the others
            for process in started:
                process.raise_failure(error)
            raise
        for process in started:
            process.popen.wait(_LAST_SECONDS)
    finally:
        for process in started:
            process.end()
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()  # a sweep's next job makes its own
        for name, value in former.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


class _Process:
    """One of the other processes.

    Parameters
    ----------
    rank : int
        From 1.
    config : str
        YAML, resolved.
    folder : Path
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
                start_new_session=True,  # Ctrl-C is for the first process; it tells the others
            )
        pipe: Any = self.popen.stdin
        try:
            pipe.write(config)
            pipe.close()
        except BrokenPipeError:  # ended already: found when it should be ready
            pass

    def wait_until_ready(self) -> None:
        """Wait for its word, or its end."""
        pipe: Any = self.popen.stdout
        for line in pipe:
            if line.strip() == READY:
                return
        self.popen.wait(_LAST_SECONDS)
        self.raise_failure(None)
        raise ModelError(f"process {self.rank}", "ended at once", f"See {self.log}.")

    def raise_failure(self, error: Exception | None) -> None:
        """Raise why this process failed, if it was the one."""
        try:
            status = self.popen.wait(5)
        except subprocess.TimeoutExpired:
            return  # it still trains
        if status:
            lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            reason = lines[-1] if lines else f"exit status {status}"
            repair = f"Its log is {self.log}."
            raise ModelError(f"process {self.rank}", reason[:1000], repair) from error

    def end(self) -> None:
        """End it if it runs: it holds nothing that the first process has not."""
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait()
        pipe: Any = self.popen.stdout
        pipe.close()
