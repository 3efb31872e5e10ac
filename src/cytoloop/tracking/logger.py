"""A Lightning logger that writes metrics to the MLflow run of the training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from cytoloop.tracking.run import TrackedRun, active_run, start_run


class RunLogger(Logger):
    """Log metrics to an MLflow run that `cytoloop train` starts and ends.

    Parameters
    ----------
    tracking_uri : str, optional
        Default: see `cytoloop.tracking.store.tracking_uri`.
    experiment_name : str
    run_id : str, optional
        The open run; None starts a new run.
    """

    def __init__(
        self,
        tracking_uri: str | None = None,
        experiment_name: str = "cytoloop",
        run_id: str | None = None,
    ) -> None:
        super().__init__()
        self._tracking_uri = tracking_uri
        self._experiment_name = experiment_name
        self._run_id = run_id
        self._run: TrackedRun | None = None

    @property
    def experiment(self) -> TrackedRun:
        """The run."""
        if self._run is None:
            name, run_id = self._experiment_name, self._run_id
            self._run = active_run(run_id) or start_run(name, name, self._tracking_uri, run_id)
        return self._run

    @property
    def name(self) -> str:
        """Name of the MLflow experiment."""
        return self._experiment_name

    @property
    def version(self) -> str:
        """Id of the run."""
        return self.experiment.run_id

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics at a step.

        A resumed training repeats the steps after its checkpoint. Those that the run has are not
        logged again.
        """
        step, run = step or 0, self.experiment
        new = {name: v for name, v in metrics.items() if step > run.last_steps.get(name, -1)}
        if new:
            run.metrics(new, step)

    @rank_zero_only
    def log_files(self, paths: Iterable[str | Path], folder: str) -> None:
        """Store files as artifacts of the run; files that do not exist are left out."""
        self.experiment.files(paths, folder)

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: `cytoloop train` logs the whole config."""
