"""The diagnosis at the end of a training: told, kept in its folder and in its MLflow run."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from cytoloop.manifest import Manifest
from cytoloop.tracking.output_folder import PROGRESS_FILE, write_findings
from cytoloop.tracking.run import TrackedRun
from cytoloop.training.data_facts import data_facts
from cytoloop.training.diagnosis import DataFacts, Finding, as_json, diagnose, is_poor
from cytoloop.training.prepare.classes import image_cache_of
from cytoloop.training.prepare.config import value_of

log = logging.getLogger(__name__)


def record_diagnosis(
    tracked: TrackedRun,
    output: Path,
    monitor: str,
    rate: Any = None,
    cfg: DictConfig | None = None,
    dataset: Mapping[str, Manifest] | None = None,
) -> list[Finding]:
    """Diagnose a training, report the findings, and keep them in ``diagnosis.json`` and its run.

    Parameters
    ----------
    tracked : TrackedRun
    output : Path
        Folder of the training.
    monitor : str
        The score that selects the best checkpoint.
    rate : object
        Highest learning rate, if it is known.
    cfg : DictConfig, optional
        Complete, of a recipe; its training images are looked at.
    dataset : mapping of str to Manifest, optional
        Rows by split.
    """
    try:
        text = (output / PROGRESS_FILE).read_text()
    except OSError:
        return []
    lines = [json.loads(line) for line in text.splitlines() if line]
    known: DataFacts | None = None
    if cfg is not None and dataset is not None and value_of(cfg, "data.patch_size"):
        images = image_cache_of(cfg).entries(dataset["train"].rows)
        known = data_facts(cfg, images, with_contrast=is_poor(lines, monitor))
    folder = os.path.relpath(output)
    found = diagnose(lines, monitor, folder, rate if isinstance(rate, float) else None, known)
    tracked.files([write_findings(output, as_json(found))])
    for one in found:
        log.warning("%s\n  try: %s", one.text, one.next)
    return found
