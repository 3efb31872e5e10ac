"""`cytoloop ui`: the MLflow UI of this project's store."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from cytoloop.cli.reports import report_error
from cytoloop.errors import CytoloopError


def main(argv: list[str]) -> int:
    """Serve the UI until Ctrl-C; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="cytoloop ui",
        description="Open the MLflow UI of this project (./mlflow.db, or the store in "
        "MLFLOW_TRACKING_URI).",
        epilog="Example: cytoloop ui --port 5001",
    )
    parser.add_argument("--port", type=int, default=5000)
    parser.add_argument(
        "--host", default="127.0.0.1", help="default: 127.0.0.1, reachable from this machine only"
    )
    options = parser.parse_args(argv)
    from cytoloop.redact import redact_url
    from cytoloop.terminal import stderr_console
    from cytoloop.tracking.store import connect, page_of_trainings, tracking_uri

    uri = tracking_uri()
    try:
        page = page_of_trainings(connect(uri))
    except CytoloopError as error:
        return report_error(error)
    if uri.startswith("http"):
        stderr_console.print(
            f"this store is a server; open {redact_url(uri)}{page} in a browser", soft_wrap=True
        )
        return 0
    stderr_console.print(
        f"MLflow UI: http://{options.host}:{options.port}{page} (end it with Ctrl-C)",
        soft_wrap=True,
    )
    command = [sys.executable, "-m", "mlflow", "server"]
    command += ["--host", options.host, "--port", str(options.port)]
    # the URI may hold a password: arguments are visible to every user of the machine
    environment = {**os.environ, "MLFLOW_BACKEND_STORE_URI": uri}
    try:
        return subprocess.call(command, env=environment)
    except KeyboardInterrupt:
        return 0
