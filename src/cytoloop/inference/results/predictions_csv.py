"""The table of predictions: what is done, what failed and why, and what may be used again."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cytoloop.errors import ImageError
from cytoloop.inference.postprocess.settings import TrainingFacts
from cytoloop.inference.predict_image import report_write_errors
from cytoloop.inference.settings import OUTPUTS
from cytoloop.inference.windows.predictor import OTHER_HEADS
from cytoloop.io.atomic import replacing
from cytoloop.manifest import Row, read_manifest, write_manifest

log = logging.getLogger(__name__)

TABLE = "predictions.csv"
JOURNAL = ".finished.jsonl"
MODEL = "model.json"
"""What the model knows of its training images: post-processing needs it again."""
FILES = tuple("objects_table" if kind == "objects" else kind for kind in OUTPUTS)
MAPS = ("probability", *OTHER_HEADS)
"""Columns of what the heads of a network say."""
COLUMNS = (
    *("id", "raw", *FILES, *MAPS[1:], "group", "split", "channel", "scene", "time", "spacing_um"),
    *(
        "classes",
        "objects",
        "threshold",
        "seconds",
        "status",
        "reason",
        "model",
        "run_id",
        "model_sha256",
    ),
    *("input_sha256", "settings"),
)
_SAME = ("model_sha256", "input_sha256", "settings")


class PredictionsTable:
    """The table of a folder, kept up to date while images are predicted.

    It holds every row from the start: ``pending``, then ``done``, or ``failed`` with the reason.
    Each finished row is noted in a journal at once, so that a killed run loses none.

    Parameters
    ----------
    folder : str or Path
    rows : sequence of Row
        With unique ids and a ``name``.
    common : mapping
        Cells that are the same for all: model, run_id, model_sha256, settings.

    Raises
    ------
    OutputError
        The folder cannot be written to.
    """

    def __init__(self, folder: str | Path, rows: Sequence[Row], common: Mapping[str, Any]) -> None:
        self.folder = Path(folder)
        self._former = self._read_former()
        self.table: list[dict[str, Any]] = []
        for row in rows:
            cells = {k: row[k] for k in ("group", "split", "channel", "scene", "time")}
            cells |= {"id": row.id, "raw": row.named("raw"), "status": "pending"}
            self.table.append({**cells, **common})
        # what is done stays done until it is known not to be: a kill may come before that
        with report_write_errors(self.folder):
            known = [self._done(cells["id"]) or cells for cells in self.table]
            write_manifest(self.folder / TABLE, known, COLUMNS)
            (self.folder / JOURNAL).unlink(missing_ok=True)
        models = {str(cells.get("model_sha256") or "") for cells in self._former.values()}
        if models - {"", str(common.get("model_sha256", ""))} and "model_sha256" in common:
            log.warning("%s holds predictions of another model: they are replaced", self.folder)

    def reuse(self, number: int, input_sha256: str) -> bool:
        """Take over the results of a row if model, input and settings are those of before."""
        cells = self.table[number]
        cells["input_sha256"] = input_sha256
        former = self._done(cells["id"])
        if former is None:
            return False
        if any(str(former.get(name) or "") != str(cells.get(name) or "") for name in _SAME):
            return False
        files = [former[name] for name in (*FILES, *MAPS[1:]) if former.get(name)]
        if not files or not all((self.folder / file).exists() for file in files):
            return False
        kept = set(COLUMNS) - {"raw", "group", "split", "channel", "scene", "time"}
        cells |= {k: v for k, v in former.items() if k in kept and v not in ("", None)}
        return True

    def finish(self, number: int, found: Mapping[str, Any]) -> None:
        """Note what became of a row."""
        self.table[number] |= found
        line = {k: v for k, v in self.table[number].items() if k in COLUMNS}
        with (
            report_write_errors(self.folder),
            (self.folder / JOURNAL).open("a", encoding="utf-8") as file,
        ):
            file.write(json.dumps(line, default=str) + "\n")

    def write(self) -> None:
        """Write the table, and end the journal."""
        with report_write_errors(self.folder):
            write_manifest(self.folder / TABLE, self.table, COLUMNS)
            (self.folder / JOURNAL).unlink(missing_ok=True)

    def failures(self) -> ImageError | None:
        """Return an error that names every image that failed, None where none did."""
        failed = [f"{r['id']}: {r['reason']}" for r in self.table if r["status"] == "failed"]
        if not failed:
            return None
        done = sum(row["status"] == "done" for row in self.table)
        others = f"The other {done} are done; mend" if done else "Mend"
        return ImageError("predict", failed, f"{others} these and predict them again.")

    def _done(self, row: str) -> dict[str, Any] | None:
        """Return the cells of a row that an earlier run has done."""
        former = self._former.get(row)
        return former if former is not None and former.get("status") == "done" else None

    def _read_former(self) -> dict[str, dict[str, Any]]:
        """Return the rows of an earlier run, those of its journal as well."""
        former: dict[str, dict[str, Any]] = {}
        if (self.folder / TABLE).is_file():
            for row in read_manifest(self.folder / TABLE, ("id",)):
                former[row.id] = dict(row.values)
        journal = self.folder / JOURNAL
        if journal.is_file():
            for line in journal.read_text(encoding="utf-8").splitlines():
                try:
                    cells = json.loads(line)
                    former[str(cells["id"])] = cells
                except (ValueError, KeyError, TypeError):
                    continue  # the line that the kill cut short
        return former


def write_model(folder: Path, trained: TrainingFacts) -> None:
    """Write what later post-processing needs to know of the model."""
    with report_write_errors(folder), replacing(folder / MODEL) as temporary:
        temporary.write_text(json.dumps(asdict(trained), indent=2) + "\n", encoding="utf-8")


def read_model(folder: Path) -> TrainingFacts:
    """Return what `write_model` left; nothing is known of masks of other origin."""
    try:
        facts = json.loads((folder / MODEL).read_text(encoding="utf-8"))
        classes = tuple(str(name) for name in facts.get("classes", ()))
        return TrainingFacts(
            facts["spacing_um"], float(facts["object_voxels"]), facts["tuned"], classes
        )
    except FileNotFoundError:
        return TrainingFacts()
