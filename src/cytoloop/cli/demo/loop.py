"""The steps of the demo, as the commands that a user would type."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from rich.table import Table

from cytoloop.cli.demo.sample_fields import cut_fields
from cytoloop.errors import OutputError
from cytoloop.terminal import stderr_console, stdout_console

EXPECTED_DICE = 0.85
_MARK = ".cytoloop-demo"
_SCORES = ("dice", "f1_50", "seg", "mean_ap")


class DemoError(Exception):
    """A step of the demo failed, or its result is too poor to be right."""


def prepare_folder(folder: Path) -> None:
    """Make an empty folder for the demo; one of an earlier demo is emptied.

    Raises
    ------
    OutputError
        The folder holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(str(folder), "is a file, expected a folder", "Take another --output.")
    if folder.exists() and any(folder.iterdir()):
        if not (folder / _MARK).is_file():
            raise OutputError(
                str(folder), "is not empty and not of an earlier demo", "Take another --output."
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARK).touch()


def run_demo(folder: Path, epochs: int) -> None:
    """Walk through the loop twice and show what came out.

    Parameters
    ----------
    folder : Path
        Everything goes here: images, data sets, runs, predictions, scores, MLflow store.
    epochs : int
        Of the first round (32 steps each, whatever the machine's speed); the second takes a
        third of them.

    Raises
    ------
    DemoError
        A command failed, or the held-out Dice is not above `EXPECTED_DICE`.
    """
    started = time.monotonic()
    cut_fields(folder / "round0_images", ["field_a", "field_c", "field_d"])
    cut_fields(folder / "round1_images", ["field_a", "field_b", "field_c", "field_d"])
    # small patches and few levels: quick, and the same on every machine
    train = ["train", "experiment=nuclei_3d", "paths.cache_dir=store", "layers=3"]
    train += ["data.patch_size=[16,64,64]", "data.batch_size=4"]
    print_headline(
        "Round 0: one field to learn from, one to choose the checkpoint by, one held out"
    )
    _curate(folder, 0)
    _verb(folder, [*train, "data.path=round0", "output=model0", f"trainer.max_epochs={epochs}"])
    _judge(folder, 0)
    print_headline("Round 1: one more field, starting from the model of round 0")
    _curate(folder, 1)
    second = [f"trainer.max_epochs={max(epochs // 3, 1)}", "model.optimizer.lr=0.0005"]
    first_run = f"init_from=runs:/{(folder / 'model0' / 'run_id').read_text().strip()}"
    _verb(folder, [*train, "data.path=round1", "output=model1", first_run, *second])
    _judge(folder, 1)
    dice = _show(folder)
    stderr_console.print(f"whole demo: {(time.monotonic() - started) / 60:.1f} minutes")
    if not dice > EXPECTED_DICE:
        raise DemoError(f"held-out Dice {dice:.3f}, expected above {EXPECTED_DICE}")


def print_headline(text: str) -> None:
    """Print a headline."""
    stderr_console.print(f"\n{text}", style="bold cyan", markup=False)


def _curate(folder: Path, number: int) -> None:
    source = f"round{number}_images"
    parts = [f"raw={source}/raw", f"seg1={source}/seg", f"exclude={source}/exclude"]
    _verb(
        folder,
        ["curate", *parts, "test=[field_c]", "valid=[field_d]", f"output=round{number}"],
    )


def _judge(folder: Path, number: int) -> None:
    """Predict the held-out field and score it."""
    run = (folder / f"model{number}" / "run_id").read_text().strip()
    predictions = f"predictions{number}"
    test = f"round{number}/test.csv"
    _verb(folder, ["predict", f"model=runs:/{run}", f"input={test}", f"output={predictions}"])
    table = f"predictions={predictions}/predictions.csv"
    _verb(folder, ["evaluate", table, f"truth={test}", f"output=evaluation{number}"])


def _verb(folder: Path, words: list[str]) -> None:
    """Show a command and run it in the demo's folder."""
    stderr_console.print(
        f"\n$ cytoloop {shlex.join(words)}", style="green", markup=False, soft_wrap=True
    )
    environment = {**os.environ}
    environment.pop("MLFLOW_TRACKING_URI", None)  # the demo keeps to its folder
    command = [sys.executable, "-m", "cytoloop", *words]
    status = subprocess.call(command, cwd=folder, env=environment)
    if status:
        raise DemoError(f"`cytoloop {words[0]}` ended with status {status}")


def _show(folder: Path) -> float:
    """Print the scores of both rounds and where the pictures are; return the better Dice."""
    scores = [
        json.loads((folder / f"evaluation{n}" / "summary.json").read_text())["mean"] for n in (0, 1)
    ]
    table = Table(title="Held-out field (silver-standard labels: how closely they are reproduced)")
    table.add_column("round")
    for name in _SCORES:
        table.add_column(name, justify="right")
    for number, score in enumerate(scores):
        table.add_row(str(number), *(f"{score[name]:.3f}" for name in _SCORES))
    stdout_console.print(table)
    panel = write_panel(folder)
    shown = os.path.relpath(folder)
    stderr_console.print(
        f"Picture:   {os.path.relpath(panel)}\n"
        f"Runs:      cd {shown} && cytoloop ui\n"
        f"Your data: cytoloop curate raw=IMAGES/ seg1=LABELS/ output=dataset/\n"
        f"           cytoloop train experiment=nuclei_3d data.path=dataset/ "
        f"init_from={shown}/model1/checkpoints/best.ckpt",
        markup=False,
        soft_wrap=True,
    )
    return max(score["dice"] for score in scores)


def write_panel(folder: Path) -> Path:
    """Draw raw, truth, probability, labels and errors of the held-out field; return the PNG."""
    from cytoloop.evaluation import panel
    from cytoloop.io.labels import read_labels
    from cytoloop.io.read import read_image
    from cytoloop.io.writers.tiff import write_png

    name = "field_c.ome.tif"
    raw = read_image(folder / "round1_images" / "raw" / name).data[0]
    truth = read_labels(folder / "round1_images" / "seg" / name)
    probability = read_image(folder / "predictions1" / "probability" / name).data[0] / 255
    labels = read_labels(folder / "predictions1" / "labels" / name)
    figure = panel(raw, truth, probability, labels, None, "Held-out field after round 1")
    path = folder / "result.png"
    write_png(path, figure)
    return path
