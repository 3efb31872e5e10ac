"""All files of an evaluation: written, or removed from a former evaluation."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cytoloop.errors import OutputError
from cytoloop.evaluation.evaluate import Evaluation
from cytoloop.evaluation.figures.charts import TITLES, write_charts
from cytoloop.evaluation.figures.overlays import write_overlays
from cytoloop.evaluation.output.report import REPORT_FILE, write_report
from cytoloop.evaluation.output.tables import (
    METRICS_FILE,
    OBJECTS_FILE,
    SUMMARY_FILE,
    write_tables,
)

CHARTS, OVERLAYS = "figures", "overlays"
"""Folders of the charts, and of the figures of images."""


def write_evaluation(evaluation: Evaluation, folder: str | Path, overlays: int = 8) -> list[Path]:
    """Write tables, report, charts and figures of the worst images; return the files.

    Parameters
    ----------
    evaluation : Evaluation
    folder : str or Path
    overlays : int
        Number of worst images to draw.

    Raises
    ------
    OutputError
        The folder cannot be written to.
    """
    folder = Path(folder)
    tables = write_tables(evaluation, folder)
    try:
        charts = [] if evaluation.classes else write_charts(evaluation, folder / CHARTS)
        figures = write_overlays(evaluation, folder / OVERLAYS, overlays)
        report = write_report(evaluation, folder, charts, figures)
    except (OSError, OutputError) as error:
        write_report(evaluation, folder, [], [])  # it is small: it may fit on a full disk
        raise OutputError(
            str(folder),
            f"figures cannot be written: {error.__cause__ or error}",
            "The tables, and a report without figures, are complete. Free space, or take another "
            "output=.",
        ) from error
    return [*tables, report, *charts, *figures]


def remove_evaluation(folder: str | Path) -> None:
    """Remove the files that a former evaluation wrote into a folder, and no other files.

    Raises
    ------
    OutputError
        A file cannot be removed.
    """
    names = (METRICS_FILE, OBJECTS_FILE, SUMMARY_FILE, REPORT_FILE)
    charts = (f"{CHARTS}/{name}.png" for name in TITLES)
    # 01_NAME.png, of 100 images and more 100_NAME.png
    overlays = (f"{OVERLAYS}/{number}_*.png" for number in ("[0-9]" * 2, "[0-9]" * 3))
    remove_files(Path(folder), (*names, *charts, *overlays))


def remove_files(folder: Path, patterns: Iterable[str]) -> None:
    """Remove the files in a folder that match glob patterns, and sub-folders left empty.

    Raises
    ------
    OutputError
        A file cannot be removed.
    """
    try:
        found = [path for pattern in patterns for path in folder.glob(pattern)]
        for path in found:
            path.unlink()
        for parent in {path.parent for path in found} - {folder}:
            if not any(parent.iterdir()):
                parent.rmdir()
    except OSError as error:
        raise OutputError(
            str(error.filename or folder),
            f"cannot be removed: {error.strerror}",
            "Choose another output folder.",
        ) from error
