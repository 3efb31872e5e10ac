"""The steps of the demo, run as the commands that a user would type."""

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

from cytoloop.cli.demo.sample_fields import FIELDS, cut_fields
from cytoloop.cli.demo.synthetic_pictures import draw_pictures
from cytoloop.errors import OutputError
from cytoloop.terminal import stderr_console, stdout_console
from cytoloop.tracking.output_folder import RUN_ID_FILE

EXPECTED_DICE = 0.85
_MARK_FILE = ".cytoloop-demo"
_SCORES = ("dice", "f1_50", "seg", "mean_ap")


class DemoError(Exception):
    """A command of the demo failed, or its result is worse than expected."""


def prepare_folder(folder: Path) -> None:
    """Create an empty folder for the demo; the folder of an earlier demo is emptied.

    Raises
    ------
    OutputError
        The folder holds other files.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(str(folder), "is a file, expected a folder", "Choose another --output.")
    if folder.exists() and any(folder.iterdir()):
        if not (folder / _MARK_FILE).is_file():
            raise OutputError(
                str(folder),
                "is not empty and not the folder of an earlier demo",
                "Choose another --output.",
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARK_FILE).touch()


def write_images(folder: Path, kind: str) -> None:
    """Write sample images with labels into a folder and say what to type next.

    Parameters
    ----------
    folder : Path
    kind : str
        ``stacks``: the four fields of the demo. ``pictures``: synthetic 2D pictures.
    """
    if kind == "stacks":
        cut_fields(folder, list(FIELDS))
    else:
        draw_pictures(folder)
    parts = ", ".join(f"{path.name}/" for path in sorted(folder.iterdir()) if path.is_dir())
    count = len(list((folder / "raw").iterdir()))
    stdout_console.print(
        f"wrote {count} images with labels into {folder}: {parts}\n"
        f"next: cytoloop curate raw={folder}/raw seg1={folder}/seg output=dataset",
        markup=False,
        soft_wrap=True,
    )


def run_demo(folder: Path, epochs: int) -> None:
    """Run two rounds of the loop and print their scores.

    Parameters
    ----------
    folder : Path
        Folder for images, data sets, runs, predictions, scores and the MLflow store.
    epochs : int
        Epochs of the first round, of 32 steps each; the second round has a third of them.

    Raises
    ------
    DemoError
        A command failed, or the Dice on the test field is not above `EXPECTED_DICE`.
    """
    started = time.monotonic()
    stderr_console.print(
        "CytoLoop demo: two rounds of curate, train, predict and evaluate on fields of a real\n"
        "confocal stack of nuclei. You can type each command yourself, in "
        f"{os.path.relpath(folder)}.",
        markup=False,
    )
    cut_fields(folder / "round0_images", ["field_a", "field_c", "field_d"])
    cut_fields(folder / "round1_images", ["field_a", "field_b", "field_c", "field_d"])
    # fixed sizes instead of planned ones: fast, and the same on every machine
    train = ["train", "experiment=nuclei_3d", "paths.cache_dir=image_cache", "layers=3"]
    train += ["data.patch_size=[16,64,64]", "data.batch_size=4"]
    print_headline("Round 0: train on one field, validate on a second, test on a third")
    _curate(folder, 0)
    first = [*train, "data.path=round0", "output=model0", f"trainer.max_epochs={epochs}"]
    _run_command(folder, first, "Train a U-Net on the training field")
    _predict_and_evaluate(folder, 0)
    print_headline("Round 1: add a field to the training set and fine-tune the model of round 0")
    _curate(folder, 1)
    second = [*train, "data.path=round1", "output=model1", f"init_from=runs:/{_run_id(folder, 0)}"]
    second += [f"trainer.max_epochs={max(epochs // 3, 1)}", "model.optimizer.lr=0.0005"]
    _run_command(folder, second, "Fine-tune the model with fewer epochs and a lower learning rate")
    _predict_and_evaluate(folder, 1)
    dice = _print_results(folder)
    stderr_console.print(f"\nThe demo took {(time.monotonic() - started) / 60:.1f} minutes.")
    if not dice > EXPECTED_DICE:
        raise DemoError(f"Dice on the test field is {dice:.3f}, expected above {EXPECTED_DICE}")


def print_headline(text: str) -> None:
    """Print a headline."""
    stderr_console.print(f"\n{text}", style="bold cyan", markup=False)


def _curate(folder: Path, number: int) -> None:
    source = f"round{number}_images"
    words = ["curate", f"raw={source}/raw", f"seg1={source}/seg", f"exclude={source}/exclude"]
    words += ["test=[field_c]", "valid=[field_d]", f"output=round{number}"]
    _run_command(folder, words, "Pair images with labels, check them and split them")


def _predict_and_evaluate(folder: Path, number: int) -> None:
    """Predict the test field and score the prediction."""
    test, predictions = f"round{number}/test.csv", f"predictions{number}"
    words = ["predict", f"checkpoint=runs:/{_run_id(folder, number)}", f"input={test}"]
    _run_command(folder, [*words, f"output={predictions}"], "Predict the test field")
    words = ["evaluate", f"predictions={predictions}/predictions.csv", f"truth={test}"]
    _run_command(folder, [*words, f"output=evaluation{number}"], "Score the prediction")


def _run_id(folder: Path, number: int) -> str:
    """Return the id of the MLflow run of a round."""
    return (folder / f"model{number}" / RUN_ID_FILE).read_text(encoding="utf-8").strip()


def _run_command(folder: Path, words: list[str], purpose: str) -> None:
    """Print a command with its purpose, and run it in the folder of the demo."""
    stderr_console.print(f"\n{purpose}:", markup=False)
    stderr_console.print(
        f"$ cytoloop {shlex.join(words)}", style="green", markup=False, soft_wrap=True
    )
    environment = {**os.environ}
    environment.pop("MLFLOW_TRACKING_URI", None)  # the demo uses a store in its own folder
    command = [sys.executable, "-m", "cytoloop", *words]
    status = subprocess.call(command, cwd=folder, env=environment)
    if status:
        raise DemoError(f"`cytoloop {words[0]}` ended with exit status {status}, expected 0")


def _print_results(folder: Path) -> float:
    """Print the scores of both rounds and what to do next; return the higher Dice."""
    scores = [
        json.loads((folder / f"evaluation{n}" / "summary.json").read_text())["mean"] for n in (0, 1)
    ]
    table = Table(
        title="Scores on the test field (1 = identical to the labels, which a program made)",
        title_justify="left",
    )
    table.add_column("round")
    for name in _SCORES:
        table.add_column(name, justify="right")
    for number, score in enumerate(scores):
        table.add_row(str(number), *(f"{score[name]:.3f}" for name in _SCORES))
    stdout_console.print(table)
    picture = write_picture(folder)
    here = os.path.relpath(folder)
    stderr_console.print(
        f"See the result:    {os.path.relpath(picture)}\n"
        f"See all scores:    {here}/evaluation1/report.html\n"
        f"See the trainings: cd {here} && cytoloop ui\n"
        "\nThe same with your images:\n"
        "  cytoloop curate raw=IMAGES/ seg1=LABELS/ output=dataset/\n"
        "  cytoloop train experiment=nuclei_3d data.path=dataset/ "
        f"init_from={here}/model1/checkpoints/best.ckpt",
        markup=False,
        soft_wrap=True,
    )
    return max(score["dice"] for score in scores)


def write_picture(folder: Path) -> Path:
    """Draw raw, truth, probability, labels and errors of the test field; return the PNG file."""
    from cytoloop.evaluation import image_figure
    from cytoloop.io.labels import read_labels
    from cytoloop.io.read import read_image
    from cytoloop.io.writers.png import write_png

    name = "field_c.ome.tif"
    raw = read_image(folder / "round1_images" / "raw" / name).data[0]
    truth = read_labels(folder / "round1_images" / "seg" / name)
    probability = read_image(folder / "predictions1" / "probability" / name).data[0] / 255
    labels = read_labels(folder / "predictions1" / "labels" / name)
    figure = image_figure(raw, truth, probability, labels, None, "Test field after round 1")
    path = folder / "result.png"
    write_png(path, figure)
    return path
