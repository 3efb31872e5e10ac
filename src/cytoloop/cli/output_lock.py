"""The lock of a verb's output folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cytoloop.cli.overrides import bare_key, text_of
from cytoloop.io.folder_lock import lock_folder

_LOCKED = (
    *("curate", "annotate", "synthesize", "classic"),
    *("predict", "evaluate", "compare", "models", "rank"),
)
"""Verbs whose output folder one process writes. `train` locks its folder itself."""

_REPLACED = ("annotate", "models", "synthesize")
"""Verbs that replace their output folder as a whole."""


@contextmanager
def lock_output(verb: str, cfg: Any) -> Iterator[None]:
    """Lock the output folder of a verb as long as the block runs.

    Parameters
    ----------
    verb : str
    cfg : DictConfig
        The composed config of the verb.

    Raises
    ------
    OutputError
        Another process writes into the folder, or the lock cannot be written.
    """
    folder = _output_folder(verb, cfg)
    if folder is None:
        yield
        return
    with lock_folder(folder, f"cytoloop {verb}", beside=verb in _REPLACED):
        yield


def check_training_folder(words: Sequence[str]) -> None:
    """Refuse the output folder of a training before Hydra replaces its stored overrides.

    Parameters
    ----------
    words : sequence of str
        Overrides of `cytoloop train`; with flags nothing is checked.

    Raises
    ------
    ConfigError
        Another process trains into the folder.
    OutputError
        The folder holds a trained model, and is neither resumed nor overwritten.
    """
    from cytoloop.tracking.lock import check_not_in_use
    from cytoloop.tracking.output_folder import check_not_trained

    values = {bare_key(word): text_of(word) for word in words}
    folder = Path(values.get("output") or ".")
    composes_only = any(word.startswith("-") for word in words)
    if "output" not in values or composes_only or not folder.is_dir():
        return
    check_not_in_use(folder)
    if "resume" not in values and values.get("overwrite", "").lower() != "true":
        check_not_trained(folder)


def _output_folder(verb: str, cfg: Any) -> Path | None:
    """Return the folder that a verb writes, None if it writes none."""
    if verb not in _LOCKED:
        return None
    if verb == "predict" and not cfg.output and cfg.reprocess:
        folder = Path(str(cfg.reprocess)).parent
        return folder if folder.is_dir() else None
    if verb == "rank" and not cfg.output and cfg.models_of:
        return Path(str(cfg.models_of), "next")
    if verb == "models" and cfg.action not in ("export", "promote"):
        return None
    return Path(str(cfg.output)) if cfg.output else None
