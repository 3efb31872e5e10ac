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
    from cytoloop.tracking.lock import holder_in
    from cytoloop.tracking.store import uri_of_folder
    from cytoloop.tracking.sync import sync

    try:
        if holder := holder_in(options.folder):
            stderr_console.print(f"process {holder.pid} is training there: it sends by itself")
            return 0
        sent = sync(options.folder, uri_of_folder(options.folder))
    except CytoloopError as error:
        stderr_console.print(f"{type(error).__name__}: {error}", style="red", markup=False)
        return 2
    stderr_console.print(f"sent {sent} entries" if sent else "nothing waits there")
    return 0
