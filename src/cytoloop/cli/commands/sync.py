"""`cytoloop sync`: send the entries of a training that its MLflow store did not receive."""

from __future__ import annotations

import argparse
from pathlib import Path

from cytoloop.cli.reports import report_error
from cytoloop.errors import CytoloopError


def main(argv: list[str]) -> int:
    """Send the spooled entries of a training; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="cytoloop sync",
        description="Send what a training logged while its MLflow store did not answer: metrics, "
        "files and the end of the run, kept in FOLDER/mlflow_spool.jsonl.",
        epilog="Example: cytoloop sync runs/train/2026-01-31_12-00-00-000000",
    )
    parser.add_argument("folder", type=Path, help="output folder of the training")
    options = parser.parse_args(argv)
    from cytoloop.terminal import stderr_console
    from cytoloop.tracking.lock import find_process
    from cytoloop.tracking.store import read_tracking_uri
    from cytoloop.tracking.sync import send_spooled

    try:
        if process := find_process(options.folder):
            stderr_console.print(
                f"nothing to do: process {process.pid} trains in this folder and sends its entries"
            )
            return 0
        sent = send_spooled(options.folder, read_tracking_uri(options.folder))
    except CytoloopError as error:
        return report_error(error)
    stderr_console.print(f"sent {sent} entries" if sent else "there is nothing to send")
    return 0
