"""The store of a study: its trainings leave their entries in spools, and one process sends them.

The study sets the variable `STUDY_VARIABLE` for its trainings. Several processes, also on machines
that share the folder, then never write one SQLite file at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

STUDY_VARIABLE = "CYTOLOOP_STUDY"
STUDY_FILE = "study.json"
"""Settings of a study, in its folder."""
_LOCK_FILE = ".mlflow.lock"


def study_folder() -> Path | None:
    """Return the folder of the study that this training belongs to, None outside a study."""
    given = os.environ.get(STUDY_VARIABLE)
    return Path(given) if given else None


@contextmanager
def only_writer(study: Path | None) -> Iterator[None]:
    """Wait until no other process of the study writes to the store; without a study, do nothing."""
    if study is None:
        yield
        return
    study.mkdir(parents=True, exist_ok=True)
    with FileLock(study / _LOCK_FILE):
        yield
