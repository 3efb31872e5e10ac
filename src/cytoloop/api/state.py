"""The state of the Python process that a verb changes, restored after the verb."""

from __future__ import annotations

import copy
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cytoloop.composition import separate_hydra
from cytoloop.terminal import LIBRARY_LOGGERS, FileFormatter, TerminalHandler

_LOGGERS = ("", "cytoloop", *LIBRARY_LOGGERS)


@contextmanager
def restored_state() -> Iterator[None]:
    """Restore environment variables, logging, warnings and the state of Hydra after the block."""
    with _environment(), _warnings(), _logging(), _hydra():
        yield


@contextmanager
def _environment() -> Iterator[None]:
    """Restore the environment variables; the block loads no code from a checkpoint."""
    former = dict(os.environ)
    os.environ.setdefault("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")
    try:
        yield
    finally:
        for name in os.environ.keys() - former.keys():
            del os.environ[name]
        os.environ.update({k: v for k, v in former.items() if os.environ.get(k) != v})


@contextmanager
def _warnings() -> Iterator[None]:
    """Send warnings to the log, and restore the filters of warnings."""
    with warnings.catch_warnings():
        former = warnings.showwarning
        logging.captureWarnings(True)
        has_changed = warnings.showwarning is not former
        try:
            yield
        finally:
            if has_changed:
                logging.captureWarnings(False)


@contextmanager
def _logging() -> Iterator[None]:
    """Print CytoLoop's messages, and restore the loggers.

    The handlers of the user stay. Hydra's own set-up of logging would close them.
    """
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    former = [(one, list(one.handlers), one.level, one.propagate) for one in loggers]
    logger = logging.getLogger("cytoloop")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    logger.addHandler(TerminalHandler())
    try:
        yield
    finally:
        for one, handlers, level, propagate in former:
            one.handlers[:] = handlers
            one.setLevel(level)
            one.propagate = propagate


@contextmanager
def restored_torch_state() -> Iterator[None]:
    """Restore random number generators and torch's global switches after a training.

    A GPU that torch has not used before the block is left out.
    """
    import random

    import numpy as np
    import torch

    former, numpy_former = random.getstate(), np.random.get_state()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    count = torch.cuda.device_count() if torch.cuda.is_initialized() else 0
    try:
        with torch.random.fork_rng(devices=range(count)):
            yield
    finally:
        random.setstate(former)
        np.random.set_state(numpy_former)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.backends.cudnn.benchmark = benchmark


@contextmanager
def log_file(job_logging: Any) -> Iterator[None]:
    """Write all messages into the log file of a run, if Hydra's config of logging has one.

    Parameters
    ----------
    job_logging : DictConfig
        ``hydra.job_logging`` of a composed config.
    """
    file = job_logging.handlers.get("file")
    if file is None:
        yield
        return
    handler = logging.FileHandler(str(file.filename))
    handler.setFormatter(FileFormatter(job_logging.formatters[file.formatter].format))
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()


@contextmanager
def _hydra() -> Iterator[None]:
    """Hide the user's own state of Hydra in the block, and restore it afterwards."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.core.utils import JobRuntime
    from hydra.version import VersionBase

    config = HydraConfig.instance().cfg
    job = copy.copy(JobRuntime.instance().conf)
    version = VersionBase.instance().version_base
    try:
        with separate_hydra():
            yield
    finally:
        HydraConfig.instance().cfg = config
        JobRuntime.instance().conf = job
        VersionBase.instance().version_base = version
