"""`cytoloop report`: tables and figures of a study."""

from __future__ import annotations

import argparse

from cytoloop.cli.reports import report_error
from cytoloop.errors import CytoloopError
from cytoloop.home import expand_home


def main(argv: list[str]) -> int:
    """Write the report of a study and print its table; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="cytoloop report",
        description="Write the report of a study again, also while it runs or when runs are "
        "missing: levels.csv, effects.csv, ranking.csv, figures/ and report.html.",
        epilog="Example: cytoloop report study=study/",
    )
    parser.add_argument("study", metavar="study=FOLDER", help="folder that `cytoloop study` wrote")
    folder = expand_home(parser.parse_args(argv).study.removeprefix("study="))
    from cytoloop.studies.report import PAGE, make_report, report_tables
    from cytoloop.terminal import stderr_console, stdout_console

    try:
        report = make_report(folder)
    except CytoloopError as error:
        return report_error(error)
    stdout_console.print(report_tables(report))
    stderr_console.print(f"wrote {folder / PAGE}", markup=False)
    return 0
