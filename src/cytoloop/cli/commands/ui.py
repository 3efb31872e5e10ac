"""`cytoloop ui`: the MLflow UI on this project's store."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from cytoloop.errors import CytoloopError


def main(argv: list[str]) -> int:
    """Serve the UI until Ctrl-C; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="cytoloop ui",
        description="Open the MLflow UI on this project's runs (./mlflow.db, or the store in "
        "MLFLOW_TRACKING_URI).",
        epilog="Example: cytoloop ui --port 5001",
    )
    parser.add_argument("--port", type=int, default=5000)
    parser.add_argument("--host", default="127.0.0.1", help="default: this machine only")
    options = parser.parse_args(argv)
    from cytoloop.redact import redact_url
    from cytoloop.terminal import stderr_console
    from cytoloop.tracking.store import connect, tracking_uri

    uri = tracking_uri()
    try:
        connect(uri)
    except CytoloopError as error:
        stderr_console.print(f"{type(error).__name__}: {error}", style="red", markup=False)
        return 2
    if uri.startswith("http"):
        stderr_console.print(f"the store is a server with a UI of its own: {redact_url(uri)}")
        return 0
    stderr_console.print(f"MLflow UI on http://{options.host}:{options.port} (Ctrl-C ends it)")
    command = [sys.executable, "-m", "mlflow", "server"]
    command += ["--host", options.host, "--port", str(options.port)]
    # not as an argument: those are seen by everybody on the machine, and it may hold a password
    environment = {**os.environ, "MLFLOW_BACKEND_STORE_URI": uri}
    try:
        return subprocess.call(command, env=environment)
    except KeyboardInterrupt:
        return 0
