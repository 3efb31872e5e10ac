"""`cytoloop sync`: what a training could not send, to the MLflow store."""

from __future__ import annotations

import argparse
from pathlib import Path

from cytoloop.errors import CytoloopError


def main(argv: list[str]) -> int:
    """Send what waits in a training's folder; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="cytoloop sync",
        description="Send what a training could not tell its MLflow store (the store was away): "
        "metrics, files and the end of the run wait in FOLDER/mlflow_spool.jsonl.",
        epilog="Example: cytoloop sync runs/train/2026-01-31_12-00-00-000000",
    )
    parser.add_argument("folder", type=Path, help="output folder of the training")
    options = parser.parse_args(argv)
    from cytoloop.terminal import stderr_console
    from cytoloop.tracking.lock import find_process
    from cytoloop.tracking.store import read_tracking_uri
    from cytoloop.tracking.sync import send_spooled

    try:
        if holder := find_process(options.folder):
            stderr_console.print(f"process {holder.pid} is training there: it sends by itself")
            return 0
        sent = send_spooled(options.folder, read_tracking_uri(options.folder))
    except CytoloopError as error:
        stderr_console.print(f"{type(error).__name__}: {error}", style="red", markup=False)
        return 2
    stderr_console.print(f"sent {sent} entries" if sent else "nothing waits there")
    return 0
