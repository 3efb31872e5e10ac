"""`cytoloop demo`: two rounds of the loop on a real confocal stack, in about 3 minutes."""

from __future__ import annotations

import argparse
from pathlib import Path

from cytoloop.cli.reports import report_error
from cytoloop.errors import CytoloopError


def main(argv: list[str]) -> int:
    """Run the demo; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="cytoloop demo",
        description="Predict without a label, curate, train, evaluate on a real confocal stack of "
        "nuclei. The output folder then holds images, data sets, models, predictions, scores and "
        "an MLflow store.",
        epilog="Examples: cytoloop demo --output demo; "
        "cytoloop demo --images pictures --output images",
    )
    parser.add_argument("--output", default="demo", help="folder to create (default: demo)")
    parser.add_argument(
        "--steps",
        type=int,
        default=100,
        help="steps of the training (default: 100, about a minute on 2 CPU cores)",
    )
    parser.add_argument(
        "--images",
        choices=["stacks", "pictures"],
        help="write images with labels only: stacks (the four fields of the demo) or pictures "
        "(synthetic 2D nuclei); for the tutorials",
    )
    options = parser.parse_args(argv)
    from cytoloop.cli.demo.loop import DemoError, prepare_folder, run_demo, write_images
    from cytoloop.terminal import stderr_console

    try:
        prepare_folder(Path(options.output))
        if options.images:
            write_images(Path(options.output), options.images)
            return 0
        run_demo(Path(options.output).resolve(), options.steps)
    except CytoloopError as error:
        return report_error(error)
    except DemoError as error:
        stderr_console.print(f"The demo failed: {error}", style="red", markup=False)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0
