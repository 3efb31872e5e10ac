"""The record of a study in MLflow: one parent run, and its trainings as children."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlflow.exceptions import MlflowException

from cytoloop.errors import CytoloopError
from cytoloop.studies.runs import DONE, ENDED, PRUNED, Run
from cytoloop.tracking.output_folder import RUN_ID_FILE, read_run_id
from cytoloop.tracking.run import open_run, start_run
from cytoloop.tracking.study_store import only_writer
from cytoloop.tracking.sync import send_spooled

log = logging.getLogger(__name__)

PARENT_TAG = "mlflow.parentRunId"


class StudyRecord:
    """The parent run of a study.

    Parameters
    ----------
    folder : Path
        Of the study; it keeps the id of the run, so that a study that goes on has one run.
    experiment : str
        Name of the MLflow experiment.
    facts : mapping
        Logged as parameters.

    Raises
    ------
    ConfigError
        The store does not answer.
    """

    def __init__(self, folder: Path, experiment: str, facts: Mapping[str, object]) -> None:
        self.folder = folder
        known = read_run_id(folder)
        try:
            self.run = start_run(experiment, folder.name, None, known)
        except CytoloopError:
            if known is None:
                raise
            log.warning("the MLflow run %s of this study is gone: a new one is opened", known)
            self.run = start_run(experiment, folder.name)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RUN_ID_FILE).write_text(self.run.run_id + "\n", encoding="utf-8")
        self.run.params({key: value for key, value in facts.items() if known is None})
        self._children = self._known_children() if known else set()

    def add(self, one: Run) -> None:
        """Make a training a child of the study's run, with its levels as tags."""
        if (run_id := read_run_id(one.folder)) is None:
            return
        self._children.add(run_id)
        self.send(one)
        levels = {f"study.{factor}": level for factor, level in one.combination.names.items()}
        try:
            child = open_run(run_id, client=self.run.client)
            with only_writer(self.folder):
                child.tags({PARENT_TAG: self.run.run_id, "study.seed": one.seed, **levels})
        except (CytoloopError, MlflowException) as error:
            log.warning("MLflow does not know that %s belongs to this study: %s", run_id, error)

    def lacks(self, one: Run) -> bool:
        """Return whether an ended training is no child yet: its study was killed before `add`."""
        if one.status not in ENDED:
            return False
        run_id = read_run_id(one.folder)
        return run_id is not None and run_id not in self._children

    def _known_children(self) -> set[str]:
        """Return the ids of the runs that are children of the study's run."""
        client, found, token = self.run.client, set(), None
        rule = f"tags.`{PARENT_TAG}` = '{self.run.run_id}'"
        try:
            experiment = client.get_run(self.run.run_id).info.experiment_id
            while True:
                page = client.search_runs([experiment], rule, page_token=token)
                found |= {one.info.run_id for one in page}
                if not (token := page.token):
                    return found
        except MlflowException as error:
            log.warning("MLflow does not say which trainings belong to this study: %s", error)
            return found

    def send(self, one: Run) -> None:
        """Send what a training has left in its spool; one process of the study sends at a time."""
        try:
            with only_writer(self.folder):
                send_spooled(one.folder)
        except CytoloopError as error:
            log.warning("MLflow has not got all of %s: %s", one.title, error)

    def end(self, runs: Sequence[Run], files: Sequence[Path]) -> None:
        """Store the report; the run is finished if no training is missing."""
        try:
            is_finished = all(one.status in (DONE, PRUNED) for one in runs)
            with only_writer(self.folder):
                self.run.files(files)
                self.run.end("FINISHED" if is_finished else "KILLED")
        except MlflowException as error:
            log.warning("the report is not in MLflow: %s", error)
