"""The table predictions.csv: one row per image, with its results, status and provenance."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cytoloop.errors import ImageError
from cytoloop.inference.results.metadata import FOLDER as METADATA
from cytoloop.inference.results.metadata import write_metadata
from cytoloop.inference.results.writers import report_write_errors
from cytoloop.inference.settings import MAPS, OUTPUTS, PredictionSettings
from cytoloop.inference.volume_storage import PARTIAL_FOLDER
from cytoloop.inference.windows.map_names import INTENSITY
from cytoloop.manifest import Row, read_manifest, write_manifest
from cytoloop.redact import without_secrets

log = logging.getLogger(__name__)

TABLE = "predictions.csv"
JOURNAL = ".finished.jsonl"
_RESULT_FOLDERS = {
    "objects_table" if kind == "objects" else kind: kind
    for kind in (*OUTPUTS, *MAPS[1:], INTENSITY, METADATA)
}
"""Columns of result files, and the folder of each."""
COLUMNS = (
    *("id", "raw", *_RESULT_FOLDERS),
    *("group", "split", "channel", "scene", "time", "plane", "axes", "spacing_um"),
    "object_diameter_um",
    *("classes", "objects", "threshold", "seconds", "status", "reason", "warnings"),
    *("model", "run_id", "model_sha256", "input_sha256", "settings"),
)
_DIGESTS = ("model_sha256", "input_sha256", "settings")
"""Columns that must agree for an earlier result to be kept."""
_INPUT_COLUMNS = ("group", "split", "channel", "scene", "time", "axes")


class PredictionsTable:
    """The table of a folder, updated while images are predicted.

    It holds every row from the start: ``pending``, then ``done``, or ``failed`` with the reason.
    Each finished row is appended to a journal at once, so that a killed run loses none.

    Parameters
    ----------
    folder : str or Path
    rows : sequence of Row
        With unique ids and a ``name``.
    common : mapping
        Cells that all rows share: model, run_id, model_sha256, settings.

    Raises
    ------
    OutputError
        The folder cannot be written to.
    """

    def __init__(self, folder: str | Path, rows: Sequence[Row], common: Mapping[str, Any]) -> None:
        self.folder = Path(folder)
        self._earlier = self._read_earlier()
        self.rows: list[dict[str, Any]] = []
        for row in rows:
            cells = {name: row[name] for name in _INPUT_COLUMNS}
            raw = without_secrets(row.location("raw"))
            plane = row["plane"] if row["plane"].isdigit() else ""
            cells |= {"id": row.id, "raw": raw, "plane": plane, "status": "pending"}
            self.rows.append({**cells, **common})
        # a kill may come before earlier results are compared: until then they count as done
        with report_write_errors(self.folder):
            known = [self._earlier_done(cells["id"]) or cells for cells in self.rows]
            write_manifest(self.folder / TABLE, known, COLUMNS)
            (self.folder / JOURNAL).unlink(missing_ok=True)
        models = {str(cells.get("model_sha256") or "") for cells in self._earlier.values()}
        if models - {"", str(common.get("model_sha256", ""))} and "model_sha256" in common:
            log.warning("%s holds predictions of another model: they are replaced", self.folder)

    def set_input(self, number: int, input_sha256: str) -> None:
        """Set the digest of a row's input."""
        self.rows[number]["input_sha256"] = input_sha256

    def is_up_to_date(self, number: int) -> bool:
        """Return whether a row was done earlier with the same model, input and settings.

        Its result files must still exist.
        """
        cells = self.rows[number]
        earlier = self._earlier_done(cells["id"])
        if earlier is None or not cells.get("input_sha256"):
            return False
        if any(str(earlier.get(name) or "") != str(cells.get(name) or "") for name in _DIGESTS):
            return False
        files = [earlier[name] for name in _RESULT_FOLDERS if earlier.get(name)]
        return bool(files) and all((self.folder / file).exists() for file in files)

    def keep_earlier(self, number: int) -> None:
        """Copy the earlier results of a row into the table."""
        cells = self.rows[number]
        kept = set(COLUMNS) - {"raw", *_INPUT_COLUMNS}
        earlier = self._earlier[cells["id"]]
        cells |= {k: v for k, v in earlier.items() if k in kept and v not in ("", None)}

    def remove_earlier_files(self, keep: Collection[Path] = ()) -> None:
        """Remove the result files of the earlier table, and what interrupted images left.

        Only files in the result folders of this table are removed.

        Parameters
        ----------
        keep : collection of Path
            Files to keep.
        """
        kept = {path.resolve() for path in keep}
        with report_write_errors(self.folder):
            for path in self._earlier_files():
                if path.resolve() in kept:
                    continue
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
            shutil.rmtree(self.folder / PARTIAL_FOLDER, ignore_errors=True)

    def finish(
        self, number: int, name: str, cells: Mapping[str, Any], settings: PredictionSettings
    ) -> None:
        """Set the cells of a finished row, write its metadata, and append it to the journal.

        Parameters
        ----------
        number : int
            Of the row.
        name : str
            Of the result files.
        cells : mapping
        settings : PredictionSettings
            For the metadata.
        """
        row = self.rows[number]
        row |= cells
        if row["status"] == "done":
            row[METADATA] = write_metadata(self.folder, name, row, settings)
        line = {k: v for k, v in self.rows[number].items() if k in COLUMNS}
        path = self.folder / JOURNAL
        with report_write_errors(self.folder), path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, default=str) + "\n")

    def write(self) -> None:
        """Write the table, and remove the journal."""
        with report_write_errors(self.folder):
            write_manifest(self.folder / TABLE, self.rows, COLUMNS)
            (self.folder / JOURNAL).unlink(missing_ok=True)

    def failures(self) -> ImageError | None:
        """Return an error that names every failed image, None if all are done."""
        failed = [f"{r['id']}: {r['reason']}" for r in self.rows if r["status"] == "failed"]
        if not failed:
            return None
        done = sum(row["status"] == "done" for row in self.rows)
        others = f"The other {done} are done; repair" if done else "Repair"
        return ImageError("predict", failed, f"{others} these and predict them again.")

    def _earlier_done(self, row_id: str) -> dict[str, Any] | None:
        """Return the cells of a row that an earlier run has done."""
        cells = self._earlier.get(row_id)
        return cells if cells is not None and cells.get("status") == "done" else None

    def _earlier_files(self) -> Iterator[Path]:
        """Yield the existing result files of the earlier table that are in its own folders."""
        for cells in self._earlier.values():
            for column, kind in _RESULT_FOLDERS.items():
                parts = Path(str(cells.get(column) or "")).parts
                path = self.folder.joinpath(*parts)
                if parts[:1] == (kind,) and len(parts) == 2 and parts[1] != ".." and path.exists():
                    yield path

    def _read_earlier(self) -> dict[str, dict[str, Any]]:
        """Return the rows of an earlier run by id, with those of its journal."""
        earlier: dict[str, dict[str, Any]] = {}
        if (self.folder / TABLE).is_file():
            for row in read_manifest(self.folder / TABLE, ("id",)):
                earlier[row.id] = dict(row.values)
        journal = self.folder / JOURNAL
        if journal.is_file():
            for line in journal.read_text(encoding="utf-8").splitlines():
                try:
                    cells = json.loads(line)
                    earlier[str(cells["id"])] = cells
                except (ValueError, KeyError, TypeError):
                    continue  # a line that a kill has truncated
        return earlier
