"""All settings of a curation in one class, and their record in ``dataset.json``."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from cytoloop.curation.file_names import DATASET_CSV
from cytoloop.curation.settings.checks import CheckSettings, TargetSettings
from cytoloop.curation.settings.data_set import OutputSettings, RoundSettings, SplitSettings
from cytoloop.curation.settings.sources import SOURCES, ImageSettings, SourceSettings
from cytoloop.curation.settings.validation import SettingProblem, check_values
from cytoloop.curation.splits.requests import parse_request
from cytoloop.errors import ConfigError
from cytoloop.manifest import absolute_path
from cytoloop.workers.engine import LOCAL

_NOT_RECORDED = (
    *("output", "overwrite", "parent", "decisions", "predictions"),
    *("report", "export", "workers", "engine", "scheduler"),
)
"""Settings that do not change what the manifests say about the images."""


@dataclass(frozen=True, kw_only=True)
class CurationSettings(
    SourceSettings,
    ImageSettings,
    TargetSettings,
    CheckSettings,
    SplitSettings,
    RoundSettings,
    OutputSettings,
):
    """All settings of a curation: the keys of ``configs/curate.yaml``.

    The attributes are documented in the classes of the groups.

    Raises
    ------
    ConfigError
        All wrong values at once.
    """

    def __post_init__(self) -> None:
        problems = [
            *check_values(self),
            *self.split_problems(),
            *self.source_problems(),
            *self._round_problems(),
            *self._engine_problems(),
        ]
        if problems:
            repairs = dict.fromkeys(problem.repair for problem in problems if problem.repair)
            raise ConfigError("curation", [problem.text for problem in problems], " ".join(repairs))

    def _engine_problems(self) -> list[SettingProblem]:
        """Return what is wrong with the keys of the engine together."""
        if self.scheduler is None or self.engine != LOCAL:
            return []
        return [SettingProblem(f"scheduler={self.scheduler}: needs engine=dask")]

    def _round_problems(self) -> list[SettingProblem]:
        """Return what is wrong with the parent data set: there is none, or it would be removed."""
        if self.overwrite and self.parent and _is_same_folder(self.parent, self.output):
            return [
                SettingProblem(
                    f"parent={self.parent}: is the data set that overwrite=true removes",
                    "Leave out parent=, or give another output=.",
                )
            ]
        parent = self.parent or (None if self.overwrite else self.output)
        if self.raw is None and not (
            parent and (absolute_path(str(parent)) / DATASET_CSV).is_file()
        ):
            return [SettingProblem("raw is missing: no images to curate", "Give raw= and seg1=.")]
        return []

    def to_record(self) -> dict[str, Any]:
        """Return the settings as ``dataset.json`` records them: plain values, no output paths."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values = {name: value for name, value in values.items() if name not in _NOT_RECORDED}
        values |= {name: parse_request(values[name]) for name in ("valid", "test")}
        values["quality"] = {name: limit.to_record() for name, limit in self.limits.items()}
        values["exclude_rules"] = list(self.rules)
        if self.spacing_um is not None:
            values["spacing_um"] = [float(size) for size in self.spacing_um]
        given = [name for name in SOURCES if values[name] is not None]
        values |= {name: self._from_output(str(values[name])) for name in given}
        json_types = (int, float, tuple, list, dict, type(None))
        plain = {k: v if isinstance(v, json_types) else str(v) for k, v in values.items()}
        return dict(json.loads(json.dumps(plain)))

    def _from_output(self, source: str) -> str:
        """Return a source relative to the data set, whatever the working folder is."""
        path = absolute_path(source)
        if self.paths == "absolute":
            return str(path)
        try:
            return Path(os.path.relpath(path, absolute_path(str(self.output)))).as_posix()
        except ValueError:  # Windows, another drive
            return str(path)


def _is_same_folder(one: str | Path, other: str | Path) -> bool:
    return absolute_path(str(one)).resolve() == absolute_path(str(other)).resolve()
