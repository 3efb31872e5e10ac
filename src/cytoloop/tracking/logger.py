"""Lightning's metrics into the run that the train verb has opened."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from cytoloop.tracking.run import TrackedRun, active_run, start_run


class RunLogger(Logger):
    """Write metrics to an MLflow run whose start and end belong to the train verb.

    Parameters
    ----------
    tracking_uri : str, optional
        See `cytoloop.tracking.store.tracking_uri`.
    experiment_name : str
    run_id : str, optional
        The open run; None starts one.
    """

    def __init__(
        self,
        tracking_uri: str | None = None,
        experiment_name: str = "cytoloop",
        run_id: str | None = None,
    ) -> None:
        super().__init__()
        self._where = (experiment_name, tracking_uri, run_id)
        self._run: TrackedRun | None = None

    @property
    def experiment(self) -> TrackedRun:
        """The run."""
        if self._run is None:
            name, uri, run_id = self._where
            self._run = active_run(run_id) or start_run(name, name, uri, run_id)
        return self._run

    @property
    def name(self) -> str:
        """Name of the experiment."""
        return self._where[0]

    @property
    def version(self) -> str:
        """Id of the run."""
        return self.experiment.run_id

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics at a step."""
        self.experiment.metrics(metrics, step or 0)

    @rank_zero_only
    def log_files(self, paths: Iterable[str | Path], folder: str) -> None:
        """Store files that exist as artifacts of the run."""
        self.experiment.files(paths, folder)

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the verb has logged the whole config."""
