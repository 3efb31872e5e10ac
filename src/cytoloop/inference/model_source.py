"""A predictor from its checkpoints: loaded once by each process, anew when they have changed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cytoloop.inference.windows.predictor import Predictor
from cytoloop.model.checkpoint import read_checkpoint


@dataclass(frozen=True)
class ModelSource:
    """What a predictor is made of: plain values, for workers to make their own.

    Attributes
    ----------
    paths : tuple of str
        Checkpoints.
    overlap, tta, accelerator, precision, window
        See `Predictor`.
    """

    paths: tuple[str, ...]
    overlap: float | str = "auto"
    tta: str = "none"
    accelerator: str = "auto"
    precision: str = "auto"
    window: str = "auto"

    def load(self) -> Predictor:
        """Return the predictor; the one of before where its files have not changed since."""
        return _load(self, tuple(_stamp(Path(path)) for path in self.paths))


def _stamp(path: Path) -> tuple[str, int, int]:
    """Return what tells one state of a file or folder from another."""
    files = [path, *(p for p in path.rglob("*") if p.is_file())] if path.is_dir() else [path]
    facts = [file.stat() for file in files if file.exists()]
    return (
        str(path.absolute()),
        max((f.st_mtime_ns for f in facts), default=0),
        sum(f.st_size for f in facts),
    )


@lru_cache(maxsize=1)
def _load(model: ModelSource, stamps: tuple[tuple[str, int, int], ...]) -> Predictor:
    checkpoints = [read_checkpoint(path) for path in model.paths]
    return Predictor(
        checkpoints, model.overlap, model.tta, model.accelerator, model.precision, model.window
    )
