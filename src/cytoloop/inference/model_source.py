"""The model of a prediction: its checkpoint files, and the predictor that a process loads once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cytoloop.inference.settings import WindowSettings
from cytoloop.inference.windows.predictor import Predictor
from cytoloop.model.checkpoint import read_checkpoint


@dataclass(frozen=True)
class ModelSource:
    """The checkpoints of a model, and what predictions.csv says of them.

    Attributes
    ----------
    paths : tuple of str
        Checkpoint files; several are an ensemble.
    uri : str
        As the user gave it; of an ensemble joined by ``; ``.
    run_id : str or None
        MLflow run of a single checkpoint.
    """

    paths: tuple[str, ...]
    uri: str = ""
    run_id: str | None = None

    def load(self, settings: WindowSettings) -> Predictor:
        """Return the predictor; within a process it is loaded again only if a file has changed."""
        return load_predictor(self.paths, settings)


def load_predictor(paths: tuple[str, ...], settings: WindowSettings) -> Predictor:
    """Return the predictor of checkpoints, the previous one if nothing has changed since."""
    return _load(paths, settings, tuple(_file_state(Path(path)) for path in paths))


def _file_state(path: Path) -> tuple[str, int, int]:
    """Return what changes when a file or folder changes: latest modification and total size."""
    folder = path.parent if path.suffix in (".yaml", ".yml") else path  # of a package
    files = [path, *(p for p in folder.rglob("*") if p.is_file())] if folder.is_dir() else [path]
    stats = [file.stat() for file in files if file.exists()]
    return (
        str(path.absolute()),
        max((stat.st_mtime_ns for stat in stats), default=0),
        sum(stat.st_size for stat in stats),
    )


@lru_cache(maxsize=1)
def _load(
    paths: tuple[str, ...], settings: WindowSettings, states: tuple[tuple[str, int, int], ...]
) -> Predictor:
    return Predictor([read_checkpoint(path) for path in paths], settings)
